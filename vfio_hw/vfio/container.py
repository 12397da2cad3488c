"""The container: an address space of iovas that groups share, and its Type1 IOMMU."""

import mmap
from dataclasses import dataclass
from pathlib import Path

from vfio_hw.uapi import CData, ffi, ioctl, lib, struct
from vfio_hw.vfio.descriptor import Descriptor, errno_of, open_offered
from vfio_hw.vfio.info import ask, capability

READ_WRITE: int = lib.VFIO_DMA_MAP_FLAG_READ | lib.VFIO_DMA_MAP_FLAG_WRITE


@dataclass(frozen=True)
class Type1Info:
    """What VFIO_IOMMU_GET_INFO says.

    ``flags``: VFIO_IOMMU_INFO_PGSIZES and _CAPS, for which of the rest there is. ``pgsizes`` is a
    bitmap of page sizes in bytes. ``iova_ranges`` are (first, last) usable iovas;
    None when the kernel lists none, as for a container that holds only mediated devices.
    ``dma_avail`` is how many more mappings fit; None when the kernel does not say.
    """

    flags: int
    pgsizes: int
    iova_ranges: list[tuple[int, int]] | None
    dma_avail: int | None
    capabilities: dict[int, bytes]


class Container(Descriptor):
    """/dev/vfio/vfio, open. Source: linux/vfio.h, "IOCTLs for VFIO file descriptor".

    :raises Unsupported: this kernel has no containers.
    """

    NODE = Path("/dev/vfio/vfio")
    OPTION = "CONFIG_VFIO_CONTAINER"

    def __init__(self) -> None:
        super().__init__(open_offered(self.NODE, self.OPTION), str(self.NODE))

    def api_version(self) -> int:
        """VFIO_API_VERSION of the kernel."""
        return ioctl(self.fileno(), "VFIO_GET_API_VERSION", on=self.name)

    def check_extension(self, extension: int) -> int:
        """0 when ``extension`` (VFIO_TYPE1v2_IOMMU, VFIO_UNMAP_ALL, ...) is not there, else > 0."""
        return ioctl(self.fileno(), "VFIO_CHECK_EXTENSION", extension, on=self.name)

    def set_iommu(self, kind: int) -> None:
        """Give the container its IOMMU (VFIO_TYPE1_IOMMU, ...), once it has a group.

        :raises KernelRefused: EINVAL or ENODEV without a group, or for a kind nobody provides;
            EPERM when the platform does not isolate interrupts.
        """
        ioctl(self.fileno(), "VFIO_SET_IOMMU", kind, on=self.name)

    set_iommu_errno = errno_of(set_iommu)

    def get_info(self) -> Type1Info:
        """The page sizes, usable iovas and remaining mappings of the Type1 IOMMU."""
        name = "vfio_iommu_type1_info"
        answer = ask(self.fileno(), "VFIO_IOMMU_GET_INFO", name, on=self.name)
        found = answer.capabilities
        ranges, avail = None, None
        if data := found.get(lib.VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE):
            cap = capability("struct vfio_iommu_type1_info_cap_iova_range", data)
            listed = (cap.iova_ranges[number] for number in range(cap.nr_iovas))
            ranges = [(each.start, each.end) for each in listed]
        if data := found.get(lib.VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL):
            avail = capability("struct vfio_iommu_type1_info_dma_avail", data).avail
        head = answer.head
        return Type1Info(head.flags, head.iova_pgsizes, ranges, avail, found)

    def iova_ranges(self) -> list[tuple[int, int]] | None:
        """Usable iovas as (first, last); None when the kernel sets no limit."""
        return self.get_info().iova_ranges

    def map_dma(self, iova: int, vaddr: int, size: int, flags: int = READ_WRITE) -> None:
        """Let devices reach ``size`` bytes of our memory at ``vaddr`` under ``iova``.

        :param flags: what the device may do: VFIO_DMA_MAP_FLAG_READ, VFIO_DMA_MAP_FLAG_WRITE.
        :raises KernelRefused: EEXIST when a mapping overlaps; EINVAL when something is not aligned
            to the smallest page size, empty or reserved; EOVERFLOW when the range wraps.
        """
        mapping = struct("vfio_iommu_type1_dma_map", flags=flags, vaddr=vaddr, iova=iova, size=size)
        ioctl(self.fileno(), "VFIO_IOMMU_MAP_DMA", mapping, on=self.name)

    map_dma_errno = errno_of(map_dma)

    def unmap_dma(self, iova: int, size: int) -> int:
        """Take back the mappings in the range; returns how many bytes were mapped there.

        :raises KernelRefused: EINVAL when the range is not aligned, empty or cuts a mapping in two
            (ENOENT from iommufd), EOVERFLOW when it wraps.
        """
        return self.unmap_with(0, iova, size)

    unmap_dma_errno = errno_of(unmap_dma)

    def unmap_all(self) -> int:
        """Take back every mapping; returns how many bytes were mapped."""
        return self.unmap_with(lib.VFIO_DMA_UNMAP_FLAG_ALL, 0, 0)

    def unmap_with(self, flags: int, iova: int, size: int, data: bytes = b"") -> int:
        """VFIO_IOMMU_UNMAP_DMA, as it is; returns how many bytes were found in the range.

        :param flags: VFIO_DMA_UNMAP_FLAG_ALL, _VADDR (only their addresses become invalid),
            _GET_DIRTY_BITMAP (with a ``struct vfio_bitmap`` as data).
        :raises KernelRefused: EINVAL for flags that do not go together, or with ALL and a range;
            EBUSY for VADDR while a mediated device is there.
        """
        request = struct("vfio_iommu_type1_dma_unmap", flags=flags, iova=iova, size=size, data=data)
        ioctl(self.fileno(), "VFIO_IOMMU_UNMAP_DMA", request, on=self.name)
        return int(request.size)

    unmap_with_errno = errno_of(unmap_with)

    def unmap_dirty(self, iova: int, size: int) -> bytes:
        """Take back the mappings in the range; returns which pages were dirty, a bit for each.

        :raises KernelRefused: EINVAL while dirty pages are not tracked; else as :meth:`unmap_dma`.
        """
        words, bitmap = _bitmap(size, mmap.PAGESIZE)
        flag = lib.VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP
        self.unmap_with(flag, iova, size, bytes(ffi.buffer(bitmap)))
        return bytes(ffi.buffer(words))

    unmap_dirty_errno = errno_of(unmap_dirty)

    def dirty_pages(self, flags: int, data: bytes = b"") -> None:
        """VFIO_IOMMU_DIRTY_PAGES, as it is: one of VFIO_IOMMU_DIRTY_PAGES_FLAG_START, _STOP.

        :raises KernelRefused: EINVAL for other flags, or for several; EACCES from a Type1 of the
            first version.
        """
        request = struct("vfio_iommu_type1_dirty_bitmap", flags=flags, data=data)
        ioctl(self.fileno(), "VFIO_IOMMU_DIRTY_PAGES", request, on=self.name)

    dirty_pages_errno = errno_of(dirty_pages)

    def dirty_bitmap(
        self, iova: int, size: int, pgsize: int = mmap.PAGESIZE, room: int | None = None
    ) -> bytes:
        """Which pages of the range are dirty, a bit for each, since this was last asked.

        :param room: bytes that the bitmap is said to have; by default as many as it needs.
        :raises KernelRefused: EINVAL while dirty pages are not tracked, for another page size, and
            for a range that is not aligned, cuts a mapping in two, or needs more room.
        """
        words, bitmap = _bitmap(min(size, 1 << 30), pgsize, room)
        get = struct("vfio_iommu_type1_dirty_bitmap_get", iova=iova, size=size)
        get.bitmap = bitmap[0]
        self.dirty_pages(lib.VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP, bytes(ffi.buffer(get)))
        return bytes(ffi.buffer(words))

    dirty_bitmap_errno = errno_of(dirty_bitmap)


def _bitmap(size: int, pgsize: int, room: int | None = None) -> tuple[CData, CData]:
    """Zeroed words for the pages of ``size`` bytes, and the struct vfio_bitmap of them."""
    words = ffi.new("uint64_t[]", max(1, -(-size // (pgsize * 64))))
    length = ffi.sizeof(words) if room is None else room
    return words, struct("vfio_bitmap", pgsize=pgsize, size=length, data=words)
