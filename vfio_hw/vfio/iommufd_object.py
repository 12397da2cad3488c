"""What all objects of an iommufd have: a number, and an end."""

from vfio_hw.uapi import ioctl, struct
from vfio_hw.vfio.descriptor import Descriptor, errno_of


def destroy(iommufd: Descriptor, identity: int) -> None:
    """IOMMU_DESTROY: the object with this number goes.

    :raises KernelRefused: EBUSY while it is in use, ENOENT when there is none.
    """
    ioctl(iommufd.fileno(), "IOMMU_DESTROY", struct("iommu_destroy", id=identity), on=iommufd.name)


class IommufdObject:
    """An object of an iommufd, which goes with it if not destroyed before.

    :param kind: for an error's sentence.
    """

    def __init__(self, iommufd: Descriptor, identity: int, kind: str) -> None:
        self.iommufd = iommufd
        self.id = identity
        self.name = f"{kind} {identity} of {iommufd.name}"

    @property
    def closed(self) -> bool:
        """The iommufd was closed."""
        return self.iommufd.closed

    def destroy(self) -> None:
        """Destroy it.

        :raises KernelRefused: EBUSY while it is in use.
        """
        destroy(self.iommufd, self.id)

    destroy_errno = errno_of(destroy)


def number(of: IommufdObject | int) -> int:
    """The number of an object, which may be given as such."""
    return of if isinstance(of, int) else of.id
