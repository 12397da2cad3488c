"""/dev/iommu: IO address spaces, and the container's requests as iommufd answers them."""

from pathlib import Path

from vfio_hw.uapi import ffi, ioctl, ioctl_errno, lib, struct
from vfio_hw.vfio.container import READ_WRITE, Container
from vfio_hw.vfio.descriptor import Descriptor, errno_of

_ALL = 2**64 - 1


class Iommufd(Container):
    """/dev/iommu, open: a container to a group, and the maker of IO address spaces.

    Source: linux/iommufd.h, Documentation/userspace-api/iommufd.rst.

    :raises Unsupported: this kernel has no iommufd.
    """

    NODE = Path("/dev/iommu")
    OPTION = "CONFIG_IOMMUFD"

    def ioas_alloc(self) -> "Ioas":
        """A new, empty IO address space; it goes with the iommufd if not destroyed before."""
        alloc = struct("iommu_ioas_alloc")
        ioctl(self.fileno(), "IOMMU_IOAS_ALLOC", alloc, on=self.name)
        return Ioas(self, alloc.out_ioas_id)

    def destroy(self, identity: int) -> None:
        """Destroy an object of this iommufd.

        :raises KernelRefused: EBUSY while it is in use, ENOENT when there is none.
        """
        ioctl(self.fileno(), "IOMMU_DESTROY", struct("iommu_destroy", id=identity), on=self.name)

    destroy_errno = errno_of(destroy)

    def vfio_ioas(self) -> "Ioas":
        """The address space that the container's requests act on.

        :raises KernelRefused: ENODEV when there is none yet: the first group brings one.
        """
        return Ioas(self, self._vfio_ioas(lib.IOMMU_VFIO_IOAS_GET))

    vfio_ioas_errno = errno_of(vfio_ioas)

    def set_vfio_ioas(self, ioas: "Ioas") -> None:
        """Let the container's requests act on ``ioas``."""
        self._vfio_ioas(lib.IOMMU_VFIO_IOAS_SET, ioas.id)

    def clear_vfio_ioas(self) -> None:
        """Let the container's requests act on nothing; the address space stays."""
        self._vfio_ioas(lib.IOMMU_VFIO_IOAS_CLEAR)

    def _vfio_ioas(self, op: int, identity: int = 0) -> int:
        request = struct("iommu_vfio_ioas", op=op, ioas_id=identity)
        ioctl(self.fileno(), "IOMMU_VFIO_IOAS", request, on=self.name)
        return int(request.ioas_id)


class Ioas:
    """An IO address space of an iommufd; mapping has the shape that it has for a container."""

    def __init__(self, iommufd: Iommufd, identity: int) -> None:
        self.iommufd = iommufd
        self.id = identity
        self.name = f"IOAS {identity} of {iommufd.name}"

    @property
    def closed(self) -> bool:
        """The iommufd was closed."""
        return self.iommufd.closed

    def map_dma(self, iova: int, vaddr: int, size: int, flags: int = READ_WRITE) -> None:
        """IOMMU_IOAS_MAP at a fixed iova, with the arguments of :meth:`Container.map_dma`.

        :raises KernelRefused: as there.
        """
        request = struct(
            "iommu_ioas_map",
            flags=_access(flags),
            ioas_id=self.id,
            user_va=vaddr,
            length=size,
            iova=iova,
        )
        ioctl(self.iommufd.fileno(), "IOMMU_IOAS_MAP", request, on=self.name)

    map_dma_errno = errno_of(map_dma)

    def map_file(
        self, iova: int, file: Descriptor, start: int, size: int, flags: int = READ_WRITE
    ) -> None:
        """IOMMU_IOAS_MAP_FILE at a fixed iova: ``size`` bytes from ``start`` on of a memory file.

        :param file: a memfd or a dma-buf.
        :raises KernelRefused: EINVAL for a range that the file has not, ENODEV for a dma-buf that
            shows nothing now, EEXIST when a mapping overlaps.
        """
        request = struct(
            "iommu_ioas_map_file",
            flags=_access(flags),
            ioas_id=self.id,
            fd=file.fileno(),
            start=start,
            length=size,
            iova=iova,
        )
        ioctl(self.iommufd.fileno(), "IOMMU_IOAS_MAP_FILE", request, on=self.name)

    map_file_errno = errno_of(map_file)

    def unmap_dma(self, iova: int, size: int) -> int:
        """IOMMU_IOAS_UNMAP; returns how many bytes were mapped in the range.

        :raises KernelRefused: ENOENT when nothing is mapped there or the range cuts a mapping in
            two, EOVERFLOW when it wraps, EINVAL when it is empty.
        """
        request = struct("iommu_ioas_unmap", ioas_id=self.id, iova=iova, length=size)
        ioctl(self.iommufd.fileno(), "IOMMU_IOAS_UNMAP", request, on=self.name)
        return int(request.length)

    unmap_dma_errno = errno_of(unmap_dma)

    def unmap_all(self) -> int:
        """Take back every mapping; returns how many bytes were mapped."""
        return self.unmap_dma(0, _ALL)

    def iova_ranges(self) -> list[tuple[int, int]]:
        """Usable iovas as (first, last)."""
        fd, name = self.iommufd.fileno(), "IOMMU_IOAS_IOVA_RANGES"
        request = struct("iommu_ioas_iova_ranges", ioas_id=self.id)
        # Without room for them the kernel counts the ranges and answers EMSGSIZE.
        ioctl_errno(fd, name, request)
        ranges = ffi.new("struct iommu_iova_range[]", request.num_iovas)
        request.allowed_iovas = int(ffi.cast("uintptr_t", ranges))
        ioctl(fd, name, request, on=self.name)
        return [(each.start, each.last) for each in ranges]

    def destroy(self) -> None:
        """Destroy the address space and its mappings."""
        self.iommufd.destroy(self.id)


def _access(flags: int) -> int:
    """The flags of a mapping at a fixed iova, from those of a container's."""
    access: int = lib.IOMMU_IOAS_MAP_FIXED_IOVA
    if flags & lib.VFIO_DMA_MAP_FLAG_READ:
        access |= lib.IOMMU_IOAS_MAP_READABLE
    if flags & lib.VFIO_DMA_MAP_FLAG_WRITE:
        access |= lib.IOMMU_IOAS_MAP_WRITEABLE
    return access
