"""Memory of ours that a device reaches, in whatever way its iovas are mapped."""

import contextlib
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vfio_hw.errors import HarnessError
from vfio_hw.uapi import ffi
from vfio_hw.vfio.descriptor import Descriptor

PAGE: int = mmap.PAGESIZE


class Iommu(Protocol):
    """What maps iovas: a :class:`Container`, an :class:`Iommufd` as one, or an :class:`Ioas`."""

    name: str

    @property
    def closed(self) -> bool:
        """Its descriptor was closed."""

    def map_dma(self, iova: int, vaddr: int, size: int, flags: int = ...) -> None:
        """Let devices reach our memory at ``vaddr`` under ``iova``."""

    def map_dma_errno(self, iova: int, vaddr: int, size: int, flags: int = ...) -> int:
        """The same; the errno, or 0."""

    def unmap_dma(self, iova: int, size: int) -> int:
        """Take the mappings in the range back; how many bytes were mapped there."""

    def unmap_dma_errno(self, iova: int, size: int) -> int:
        """The same; the errno, or 0."""

    def unmap_all(self) -> int:
        """Take every mapping back; how many bytes were mapped."""

    def iova_ranges(self) -> list[tuple[int, int]] | None:
        """Usable iovas as (first, last); None when the kernel sets no limit."""


@dataclass(frozen=True)
class Memory:
    """Page-aligned anonymous memory: its bytes, its address and its size."""

    bytes: memoryview
    vaddr: int
    size: int


@contextlib.contextmanager
def memory(size: int = PAGE) -> Iterator[Memory]:
    """Anonymous memory of whole pages, gone after."""
    # Shared, so that a child process that we fork leaves the pages that the device sees to us.
    with mmap.mmap(-1, size) as pages, memoryview(pages) as view, ffi.from_buffer(view) as first:
        yield Memory(view, int(ffi.cast("uintptr_t", first)), size)


@contextlib.contextmanager
def memory_file(size: int = PAGE) -> Iterator[tuple[Descriptor, memoryview]]:
    """A file in memory (memfd_create(2)) and its bytes, mapped into this process."""
    with Descriptor(os.memfd_create("vfio-hw"), "memfd") as file:
        os.ftruncate(file.fileno(), size)
        with mmap.mmap(file.fileno(), size) as pages, memoryview(pages) as view:
            yield file, view


@contextlib.contextmanager
def mapped(iommu: Iommu, size: int = PAGE, iova: int | None = None) -> Iterator[tuple[Memory, int]]:
    """New memory that devices read and write at an iova inside; yields both.

    :param iova: by default the first at which ``size`` bytes may be.
    """
    where = first_iova(iommu, size) if iova is None else iova
    with memory(size) as new:
        iommu.map_dma(where, new.vaddr, size)
        try:
            yield new, where
        finally:
            if not iommu.closed:
                iommu.unmap_dma(where, size)


def first_iova(iommu: Iommu, size: int = PAGE) -> int:
    """The lowest page-aligned iova but 0 from which on ``size`` bytes may be mapped.

    :raises HarnessError: no usable range is that long.
    """
    ranges = iommu.iova_ranges()
    for first, last in [(0, 2**64 - 1)] if ranges is None else ranges:
        aligned = max(PAGE, -(-first // PAGE) * PAGE)
        if aligned + size - 1 <= last:
            return aligned
    raise HarnessError(f"{iommu.name} has no {size} bytes of iovas in one range: map less")


@dataclass(frozen=True)
class Accounted:
    """Bytes of a process that the kernel counts as locked and as pinned."""

    locked: int
    pinned: int


def accounted(pid: int | str = "self") -> Accounted:
    """What is counted for the process now.

    Type1 counts a mapping as locked; iommufd as pinned, and in a container's place as locked too.
    Source: Documentation/filesystems/proc.rst, VmLck and VmPin.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    locked, pinned = (int(found[name].split()[0]) * 1024 for name in ("VmLck", "VmPin"))
    return Accounted(locked, pinned)
