"""IO address spaces of an iommufd. Source: linux/iommufd.h, IOMMU_IOAS_*."""

from collections.abc import Sequence
from typing import Any

from vfio_hw.uapi import ffi, ioctl, ioctl_errno, lib, struct
from vfio_hw.vfio.container import READ_WRITE
from vfio_hw.vfio.descriptor import Descriptor, errno_of
from vfio_hw.vfio.iommufd_object import IommufdObject, number

_ALL = 2**64 - 1


class Ioas(IommufdObject):
    """An IO address space; mapping has the shape that it has for a container."""

    def __init__(self, iommufd: Descriptor, identity: int) -> None:
        super().__init__(iommufd, identity, "IOAS")

    def map_dma(self, iova: int, vaddr: int, size: int, flags: int = READ_WRITE) -> None:
        """IOMMU_IOAS_MAP at a fixed iova, with the arguments of :meth:`Container.map_dma`.

        :raises KernelRefused: as there.
        """
        self.map(iova, vaddr, size, flags)

    map_dma_errno = errno_of(map_dma)

    def map(self, iova: int | None, vaddr: int, size: int, flags: int = READ_WRITE) -> int:
        """IOMMU_IOAS_MAP; returns the iova, which the kernel chooses where none is given.

        :raises KernelRefused: as :meth:`map_dma`; ENOSPC when the kernel finds no room.
        """
        request = struct("iommu_ioas_map", ioas_id=self.id, user_va=vaddr, length=size)
        request.flags, request.iova = _access(flags, iova)
        self._call("IOMMU_IOAS_MAP", request)
        return int(request.iova)

    map_errno = errno_of(map)

    def map_file(
        self, iova: int | None, file: Descriptor, start: int, size: int, flags: int = READ_WRITE
    ) -> int:
        """IOMMU_IOAS_MAP_FILE: ``size`` bytes from ``start`` on of a memory file; as :meth:`map`.

        :param file: a memfd or a dma-buf.
        :raises KernelRefused: EINVAL for a range that the file has not, ENODEV for a dma-buf that
            shows nothing now, EEXIST when a mapping overlaps.
        """
        request = struct(
            "iommu_ioas_map_file", ioas_id=self.id, fd=file.fileno(), start=start, length=size
        )
        request.flags, request.iova = _access(flags, iova)
        self._call("IOMMU_IOAS_MAP_FILE", request)
        return int(request.iova)

    map_file_errno = errno_of(map_file)

    def copy(
        self,
        iova: int | None,
        source: "Ioas | int",
        source_iova: int,
        size: int,
        flags: int = READ_WRITE,
    ) -> int:
        """IOMMU_IOAS_COPY: what ``source`` has mapped there is mapped here too; as :meth:`map`.

        :raises KernelRefused: ENOENT when the source has not mapped all of it, EPERM when it may
            not be written and that is asked for, EEXIST when a mapping overlaps.
        """
        request = struct(
            "iommu_ioas_copy",
            dst_ioas_id=self.id,
            src_ioas_id=number(source),
            src_iova=source_iova,
            length=size,
        )
        request.flags, request.dst_iova = _access(flags, iova)
        self._call("IOMMU_IOAS_COPY", request)
        return int(request.dst_iova)

    copy_errno = errno_of(copy)

    def unmap_dma(self, iova: int, size: int) -> int:
        """IOMMU_IOAS_UNMAP; returns how many bytes were mapped in the range.

        :raises KernelRefused: ENOENT when nothing is mapped there or the range cuts a mapping in
            two, EOVERFLOW when it wraps, EINVAL when it is empty.
        """
        request = struct("iommu_ioas_unmap", ioas_id=self.id, iova=iova, length=size)
        self._call("IOMMU_IOAS_UNMAP", request)
        return int(request.length)

    unmap_dma_errno = errno_of(unmap_dma)

    def unmap_all(self) -> int:
        """Take back every mapping; returns how many bytes were mapped."""
        return self.unmap_dma(0, _ALL)

    def noiommu_get_pa(self, iova: int, length: int) -> tuple[int, int]:
        """IOMMU_IOAS_NOIOMMU_GET_PA: where a mapping is in physical memory, for how many bytes.

        :param length: bytes from ``iova`` on that are of interest; no more are told.
        :raises KernelRefused: EPERM without CAP_SYS_RAWIO, ENOENT when nothing is mapped there,
            EOPNOTSUPP when no device without an IOMMU is attached, EINVAL for no length.
        """
        request = struct("iommu_ioas_noiommu_get_pa", ioas_id=self.id, iova=iova, length=length)
        self._call("IOMMU_IOAS_NOIOMMU_GET_PA", request)
        return int(request.out_phys), int(request.length)

    noiommu_get_pa_errno = errno_of(noiommu_get_pa)

    def iova_ranges(self) -> list[tuple[int, int]]:
        """Usable iovas as (first, last)."""
        request = struct("iommu_ioas_iova_ranges", ioas_id=self.id)
        # Without room for them the kernel counts the ranges and answers EMSGSIZE.
        ioctl_errno(self.iommufd.fileno(), "IOMMU_IOAS_IOVA_RANGES", request)
        ranges = ffi.new("struct iommu_iova_range[]", request.num_iovas)
        request.allowed_iovas = int(ffi.cast("uintptr_t", ranges))
        self._call("IOMMU_IOAS_IOVA_RANGES", request)
        return [(each.start, each.last) for each in ranges]

    def iova_alignment(self) -> int:
        """Of what the first iova of a mapping, and the first behind it, must be a multiple."""
        request = struct("iommu_ioas_iova_ranges", ioas_id=self.id)
        ioctl_errno(self.iommufd.fileno(), "IOMMU_IOAS_IOVA_RANGES", request)
        return int(request.out_iova_alignment)

    def allow_iovas(self, ranges: Sequence[tuple[int, int]]) -> None:
        """IOMMU_IOAS_ALLOW_IOVAS: these, each (first, last), stay usable whatever is attached.

        They replace those of the call before; where the kernel chooses an iova, it is one of them.

        :raises KernelRefused: EADDRINUSE when one is not usable now, EINVAL for one that is empty
            or overlaps another.
        """
        listed = [{"start": first, "last": last} for first, last in ranges]
        array = ffi.new("struct iommu_iova_range[]", listed)
        request = struct(
            "iommu_ioas_allow_iovas",
            ioas_id=self.id,
            num_iovas=len(listed),
            allowed_iovas=int(ffi.cast("uintptr_t", array)),
        )
        self._call("IOMMU_IOAS_ALLOW_IOVAS", request)

    allow_iovas_errno = errno_of(allow_iovas)

    def _call(self, name: str, request: Any) -> None:
        ioctl(self.iommufd.fileno(), name, request, on=self.name)


def _access(flags: int, iova: int | None) -> tuple[int, int]:
    """The flags of a mapping, from those of a container's, and its iova."""
    access: int = 0 if iova is None else lib.IOMMU_IOAS_MAP_FIXED_IOVA
    if flags & lib.VFIO_DMA_MAP_FLAG_READ:
        access |= lib.IOMMU_IOAS_MAP_READABLE
    if flags & lib.VFIO_DMA_MAP_FLAG_WRITE:
        access |= lib.IOMMU_IOAS_MAP_WRITEABLE
    return access, iova or 0
