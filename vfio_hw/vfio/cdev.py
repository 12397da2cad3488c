"""A device's own node, /dev/vfio/devices/vfioN, which needs no group and no container."""

from pathlib import Path
from uuid import UUID

from vfio_hw.uapi import ffi, ioctl, lib, struct
from vfio_hw.vfio.descriptor import Descriptor, errno_of, open_node
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.iommufd_object import IommufdObject, number
from vfio_hw.vfio.names import cdev_path


class Cdev(Device):
    """A character device, open; a device from the moment it is bound to an iommufd.

    Source: linux/vfio.h, Documentation/driver-api/vfio.rst, "VFIO device cdev".

    :param device: its directory in sysfs.
    :raises Unsupported: this kernel has no such nodes.
    :raises KernelRefused: ENODEV, ENXIO or ENOENT when the device goes away.
    """

    def __init__(self, device: Path) -> None:
        node = cdev_path(device)
        super().__init__(open_node(node), f"{device.name} ({node})")

    def bind_iommufd(self, iommufd: Descriptor | int, token: UUID | None = None) -> int:
        """Take the device for us and the iommufd; returns its id there. It stays so until closed.

        :param iommufd: or the number of any descriptor, to see it refused.
        :param token: of the physical function: VFIO_DEVICE_FEATURE_PCI_VF_TOKEN.
        :raises KernelRefused: EINVAL when it is bound already, EBUSY while its group is open,
            EBADFD when the descriptor is no iommufd, EBADF when it is none at all; EACCES for a
            wrong token or none where one is needed.
        """
        fd = iommufd if isinstance(iommufd, int) else iommufd.fileno()
        bind = struct("vfio_device_bind_iommufd", iommufd=fd)
        held = ffi.new("uint8_t[]", token.bytes if token else b"")
        if token:
            bind.flags = lib.VFIO_DEVICE_BIND_FLAG_TOKEN
            bind.token_uuid_ptr = int(ffi.cast("uintptr_t", held))
        ioctl(self.fileno(), "VFIO_DEVICE_BIND_IOMMUFD", bind, on=self.name)
        return int(bind.out_devid)

    bind_iommufd_errno = errno_of(bind_iommufd)

    def attach(self, table: IommufdObject | int, pasid: int | None = None) -> int:
        """Attach the device to an address space or a page table; returns what it got.

        :param pasid: attach only its DMA with this PASID.
        :raises KernelRefused: EINVAL before it is bound, ENOENT when there is no such object,
            EOPNOTSUPP for a PASID when the device's driver knows none.
        """
        request = struct("vfio_device_attach_iommufd_pt", pt_id=number(table))
        if pasid is not None:
            request.flags, request.pasid = lib.VFIO_DEVICE_ATTACH_PASID, pasid
        ioctl(self.fileno(), "VFIO_DEVICE_ATTACH_IOMMUFD_PT", request, on=self.name)
        return int(request.pt_id)

    attach_errno = errno_of(attach)

    def detach(self, pasid: int | None = None) -> None:
        """Detach the device from its address space, if it has one; all its DMA is blocked then.

        :param pasid: detach only its DMA with this PASID.
        :raises KernelRefused: EINVAL before it is bound; EOPNOTSUPP for a PASID when the device's
            driver knows none.
        """
        request = struct("vfio_device_detach_iommufd_pt")
        if pasid is not None:
            request.flags, request.pasid = lib.VFIO_DEVICE_DETACH_PASID, pasid
        ioctl(self.fileno(), "VFIO_DEVICE_DETACH_IOMMUFD_PT", request, on=self.name)

    detach_errno = errno_of(detach)
