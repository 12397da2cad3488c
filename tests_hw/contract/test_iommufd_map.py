"""This file checks what IOMMU_IOAS_MAP, _MAP_FILE, _COPY and _UNMAP refuse (P8), and leave (P7).

What test_dma.py checks of a mapping in every mode is not repeated here.
Source: linux/iommufd.h, "General ioctl format".
"""

import contextlib
import errno
import os
import sys

import pytest

from vfio_hw.fixtures.iommufd import need
from vfio_hw.uapi import lib
from vfio_hw.vfio.descriptor import Descriptor
from vfio_hw.vfio.dma import PAGE, accounted, memory, memory_file
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.opened import opened

TOP = 2**64
READ, WRITE = lib.VFIO_DMA_MAP_FLAG_READ, lib.VFIO_DMA_MAP_FLAG_WRITE
BASE = 16 * PAGE
REFUSED = (errno.EINVAL, errno.EOVERFLOW)


@pytest.fixture(params=["nothing", "mtty", "edu"])
def ioas(request):
    """An address space to which nothing, a mediated device or a real one is attached.

    When the test is over nothing is mapped in it and nothing is pinned.
    """
    with contextlib.ExitStack() as stack:
        before = accounted()
        if request.param == "nothing":
            ours = stack.enter_context(Iommufd()).ioas_alloc()
        else:
            device = request.getfixturevalue(request.param)
            ours = stack.enter_context(opened(device.path, "iommufd")).iommu
        yield ours
        assert ours.unmap_all() == 0
        assert accounted() == before


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_a_copy_is_of_what_is_mapped(ioas):
    """ENOENT for a source of which a part is not; nothing is mapped, there or here."""
    iommufd = ioas.iommufd
    source = iommufd.ioas_alloc()
    with memory(4 * PAGE) as ours:
        source.map_dma(BASE, ours.vaddr, 2 * PAGE)
        source.map_dma(BASE + 3 * PAGE, ours.vaddr, PAGE)
        for start, pages in ((0, 1), (BASE - PAGE, 2), (BASE + PAGE, 2), (BASE, 4), (BASE * 2, 1)):
            answer = ioas.copy_errno(None, source, start, pages * PAGE)
            assert answer == errno.ENOENT, f"{start:#x}"
            assert ioas.copy_errno(0, source, start, pages * PAGE) == errno.ENOENT
        assert source.unmap_dma(BASE, 2 * PAGE) == 2 * PAGE
        assert ioas.copy_errno(None, source, BASE, 2 * PAGE) == errno.ENOENT
        assert ioas.unmap_all() == 0
        assert source.unmap_all() == PAGE
    source.destroy()


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_a_copy_of_several_mappings_is_as_many(ioas):
    """They are taken back one by one, each with what it was made of."""
    source = ioas.iommufd.ioas_alloc()
    with memory(3 * PAGE) as ours:
        source.map_dma(BASE, ours.vaddr, PAGE)
        source.map_dma(BASE + PAGE, ours.vaddr + PAGE, 2 * PAGE, READ)
        assert ioas.copy_errno(BASE, source, BASE, 3 * PAGE) == errno.EPERM
        assert ioas.unmap_all() == 0
        ioas.copy(BASE, source, BASE, 3 * PAGE, READ)
        source.destroy()
        assert ioas.unmap_dma(BASE + PAGE, 2 * PAGE) == 2 * PAGE
        assert ioas.unmap_dma(BASE, PAGE) == PAGE


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_a_copy_may_no_more_than_what_it_is_of(ioas):
    """EPERM for one that may be written of memory that may not; a copy of a copy is no way out."""
    iommufd = ioas.iommufd
    source, between = iommufd.ioas_alloc(), iommufd.ioas_alloc()
    with memory() as ours:
        source.map_dma(BASE, ours.vaddr, PAGE, READ)
        between.copy(BASE, source, BASE, PAGE, READ)
        for each in (source, between):
            for flags in (WRITE, READ | WRITE):
                assert ioas.copy_errno(None, each, BASE, PAGE, flags) == errno.EPERM
                assert ioas.copy_errno(BASE, each, BASE, PAGE, flags) == errno.EPERM
            assert ioas.copy_errno(BASE, each, BASE, PAGE, READ) == 0
            assert ioas.copy_errno(BASE, each, BASE, PAGE, READ) == errno.EEXIST
            assert ioas.unmap_dma(BASE, PAGE) == PAGE
    for each in (source, between):
        each.destroy()


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@pytest.mark.parametrize("way", ["map", "map_file", "copy"])
def test_a_range_that_wraps_or_is_empty_or_may_nothing_is_not_mapped(ioas, way):
    iommufd = ioas.iommufd
    if way == "map_file":
        need(iommufd, "IOMMU_IOAS_MAP_FILE")
    source = iommufd.ioas_alloc()
    with memory(2 * PAGE) as ours, memory_file(2 * PAGE) as (file, _):
        source.map_dma(BASE, ours.vaddr, 2 * PAGE)

        def answer(
            iova: int | None, size: int, flags: int = READ | WRITE, start: int | None = None
        ) -> int:
            if way == "map":
                vaddr = ours.vaddr if start is None else start
                return ioas.map_errno(iova, vaddr, size, flags)
            if way == "map_file":
                return ioas.map_file_errno(iova, file, start or 0, size, flags)
            where = BASE if start is None else start
            return ioas.copy_errno(iova, source, where, size, flags)

        for iova in (None, BASE):
            assert answer(iova, 0) == errno.EINVAL
            assert answer(iova, PAGE, 0) == errno.EINVAL
            for size in (TOP - 1, TOP - PAGE):
                assert answer(iova, size) in REFUSED, f"{size:#x}"
            assert answer(iova, 2 * PAGE, READ, TOP - PAGE) == errno.EOVERFLOW
        for iova in (TOP - 1, TOP - PAGE):
            assert answer(iova, 2 * PAGE) in REFUSED
        assert answer(TOP - 1, 1) in REFUSED
        assert ioas.unmap_all() == 0
        assert answer(BASE, 2 * PAGE) == 0
        assert answer(BASE, 2 * PAGE) == errno.EEXIST
        assert answer(BASE + PAGE, PAGE) == errno.EEXIST
        assert ioas.unmap_all() == 2 * PAGE
    source.destroy()


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_an_unmap_takes_whole_mappings_or_none(ioas):
    """ENOENT for a part of one, and for nothing; a refused one takes nothing."""
    with memory(8 * PAGE) as ours:
        for start in (BASE, BASE + 4 * PAGE):
            ioas.map_dma(start, ours.vaddr, 2 * PAGE)
        for iova, pages in (
            (BASE, 1),
            (BASE + PAGE, 1),
            (BASE + PAGE, 3),
            (BASE + 5 * PAGE, 4),
            (BASE + 2 * PAGE, 2),
            (BASE + 6 * PAGE, 8),
        ):
            assert ioas.unmap_dma_errno(iova, pages * PAGE) == errno.ENOENT, f"{iova:#x} {pages}"
        for iova, size in ((BASE, 0), (0, 0)):
            assert ioas.unmap_dma_errno(iova, size) == errno.EINVAL
        for iova, size in ((BASE, TOP - 1), (BASE, TOP - BASE + 1), (TOP - 1, 2), (1, TOP - 1)):
            assert ioas.unmap_dma_errno(iova, size) == errno.EOVERFLOW
        for start in (BASE, BASE + 4 * PAGE):
            assert ioas.map_dma_errno(start, ours.vaddr, 2 * PAGE) == errno.EEXIST
        assert ioas.unmap_dma(BASE - PAGE, 4 * PAGE) == 2 * PAGE
        assert ioas.unmap_dma(0, TOP // 2) == 2 * PAGE
        assert ioas.unmap_dma_errno(0, TOP // 2) == errno.ENOENT


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_only_a_file_in_memory_and_only_what_it_has_is_mapped(reaching):
    """EINVAL; EBADF for no file at all. Without a device it would show only when one comes."""
    ioas, before = reaching[0].iommu, accounted()
    need(ioas.iommufd, "IOMMU_IOAS_MAP_FILE")
    with (
        memory_file(2 * PAGE) as (file, _),
        Descriptor(os.open(sys.executable, os.O_RDONLY), "a file on a disk") as other,
        Descriptor(os.open("/dev/zero", os.O_RDWR), "/dev/zero") as zero,
    ):
        for start, size in (
            (0, 3 * PAGE),
            (PAGE, 2 * PAGE),
            (2 * PAGE, PAGE),
            (1 << 40, PAGE),
            (PAGE // 2, PAGE),
        ):
            assert ioas.map_file_errno(None, file, start, size) == errno.EINVAL, f"{start:#x}"
        for wrong in (other, zero, ioas.iommufd):
            assert ioas.map_file_errno(None, wrong, 0, PAGE, READ) == errno.EINVAL
        number = file.fileno()
        assert ioas.map_file_errno(None, file, 0, 2 * PAGE) == 0
        assert ioas.unmap_all() == 2 * PAGE
    gone = Descriptor(number, "nothing")
    assert ioas.map_file_errno(None, gone, 0, PAGE) == errno.EBADF
    assert accounted() == before
