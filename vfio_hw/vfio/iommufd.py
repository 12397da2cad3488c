"""/dev/iommu: what it is asked for as a whole, and as a container to a group."""

from pathlib import Path

from vfio_hw.uapi import ioctl, lib, struct
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.descriptor import errno_of
from vfio_hw.vfio.ioas import Ioas
from vfio_hw.vfio.iommufd_object import IommufdObject, destroy, number


class Iommufd(Container):
    """/dev/iommu, open: a container to a group, and the maker of IO address spaces.

    Source: linux/iommufd.h, Documentation/userspace-api/iommufd.rst.

    :raises Unsupported: this kernel has no iommufd.
    """

    NODE = Path("/dev/iommu")
    OPTION = "CONFIG_IOMMUFD"

    def ioas_alloc(self) -> Ioas:
        """A new, empty IO address space; it goes with the iommufd if not destroyed before."""
        alloc = struct("iommu_ioas_alloc")
        ioctl(self.fileno(), "IOMMU_IOAS_ALLOC", alloc, on=self.name)
        return Ioas(self, alloc.out_ioas_id)

    def destroy(self, identity: int) -> None:
        """Destroy an object of this iommufd.

        :raises KernelRefused: EBUSY while it is in use, ENOENT when there is none.
        """
        destroy(self, identity)

    destroy_errno = errno_of(destroy)

    def vfio_ioas(self) -> Ioas:
        """The address space that the container's requests act on.

        :raises KernelRefused: ENODEV when there is none yet: the first group brings one.
        """
        return Ioas(self, self._vfio_ioas(lib.IOMMU_VFIO_IOAS_GET))

    vfio_ioas_errno = errno_of(vfio_ioas)

    def set_vfio_ioas(self, ioas: IommufdObject | int) -> None:
        """Let the container's requests act on ``ioas``.

        :raises KernelRefused: ENOENT when it is no address space.
        """
        self._vfio_ioas(lib.IOMMU_VFIO_IOAS_SET, number(ioas))

    set_vfio_ioas_errno = errno_of(set_vfio_ioas)

    def clear_vfio_ioas(self) -> None:
        """Let the container's requests act on nothing; the address space stays."""
        self._vfio_ioas(lib.IOMMU_VFIO_IOAS_CLEAR)

    def _vfio_ioas(self, op: int, identity: int = 0) -> int:
        request = struct("iommu_vfio_ioas", op=op, ioas_id=identity)
        ioctl(self.fileno(), "IOMMU_VFIO_IOAS", request, on=self.name)
        return int(request.ioas_id)

    def option(self, option: int, of: IommufdObject | int = 0) -> int:
        """The value of an option, IOMMU_OPTION_RLIMIT_MODE or IOMMU_OPTION_HUGE_PAGES.

        :param of: the address space, for an option that each has.
        :raises KernelRefused: EOPNOTSUPP when there is no such option, ENOENT when there is no such
            address space.
        """
        return self._option(lib.IOMMU_OPTION_OP_GET, option, of, 0)

    option_errno = errno_of(option)

    def set_option(self, option: int, value: int, of: IommufdObject | int = 0) -> None:
        """Give an option a value.

        :raises KernelRefused: as :meth:`option`; EINVAL for a value that it can not have, EPERM for
            the mode of the limit without CAP_SYS_RESOURCE, EBUSY for it when there are objects.
        """
        self._option(lib.IOMMU_OPTION_OP_SET, option, of, value)

    set_option_errno = errno_of(set_option)

    def _option(self, op: int, option: int, of: IommufdObject | int, value: int) -> int:
        request = struct("iommu_option", option_id=option, op=op, object_id=number(of), val64=value)
        ioctl(self.fileno(), "IOMMU_OPTION", request, on=self.name)
        return int(request.val64)

    def change_process(self) -> None:
        """IOMMU_IOAS_CHANGE_PROCESS: what is pinned for any mapping counts for this process now.

        :raises KernelRefused: EINVAL when not all are mappings of files; ENOMEM when this process
            may not lock as much.
        """
        request = struct("iommu_ioas_change_process")
        ioctl(self.fileno(), "IOMMU_IOAS_CHANGE_PROCESS", request, on=self.name)

    change_process_errno = errno_of(change_process)
