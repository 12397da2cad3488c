"""An IOMMU group as VFIO offers it: /dev/vfio/N."""

from dataclasses import dataclass
from uuid import UUID

from vfio_hw.uapi import ffi, ioctl, lib, struct
from vfio_hw.vfio.descriptor import Descriptor, errno_of, open_node
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.names import NODES


@dataclass(frozen=True)
class GroupStatus:
    """What VFIO_GROUP_GET_STATUS says.

    ``viable``: no driver but VFIO's uses a device of the group. ``container_set``: the group is in
    a container, or has an iommufd in the place of one.
    """

    viable: bool
    container_set: bool


class Group(Descriptor):
    """A group, open. Source: linux/vfio.h, "IOCTLs for GROUP file descriptors".

    :param number: of the IOMMU group.
    :raises KernelRefused: EBUSY when it is open already or a device of it is bound through its
        character device; ENOENT, ENXIO or ENODEV when it is not there (any more).
    """

    def __init__(self, number: int | str) -> None:
        path = NODES / str(number)
        super().__init__(open_node(path), str(path))

    def status(self) -> GroupStatus:
        """Whether the group can be used, and is used by a container."""
        status = struct("vfio_group_status")
        ioctl(self.fileno(), "VFIO_GROUP_GET_STATUS", status, on=self.name)
        return GroupStatus(
            viable=bool(status.flags & lib.VFIO_GROUP_FLAGS_VIABLE),
            container_set=bool(status.flags & lib.VFIO_GROUP_FLAGS_CONTAINER_SET),
        )

    def set_container(self, container: Descriptor | int) -> None:
        """Put the group into a container, or give it an iommufd.

        :param container: or the number of any descriptor, to see it refused.
        :raises KernelRefused: EINVAL when it is in one, EBADFD when ``container`` is neither, EBADF
            when it is not open.
        """
        number = container if isinstance(container, int) else container.fileno()
        fd = ffi.new("int32_t *", number)
        ioctl(self.fileno(), "VFIO_GROUP_SET_CONTAINER", fd, on=self.name)

    set_container_errno = errno_of(set_container)

    def unset_container(self) -> None:
        """Take the group out of its container.

        :raises KernelRefused: EINVAL when it is in none, EBUSY while a device of it is open.
        """
        ioctl(self.fileno(), "VFIO_GROUP_UNSET_CONTAINER", on=self.name)

    unset_container_errno = errno_of(unset_container)

    def device(self, name: str, token: UUID | None = None) -> Device:
        """Open a device of the group (VFIO_GROUP_GET_DEVICE_FD); the descriptor is close-on-exec.

        :param name: a PCI address with its domain, or an mdev's UUID.
        :param token: of the physical function: VFIO_DEVICE_FEATURE_PCI_VF_TOKEN.
        :raises KernelRefused: EINVAL before the group has an IOMMU, ENODEV when it has no device of
            that name (any more), EACCES for a wrong token or none where one is needed.
        """
        words = name if token is None else f"{name} vf_token={token}"
        text = ffi.new("char[]", words.encode())
        return Device(ioctl(self.fileno(), "VFIO_GROUP_GET_DEVICE_FD", text, on=self.name), name)

    device_errno = errno_of(device)
