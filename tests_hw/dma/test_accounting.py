"""This file checks that what is mapped is counted, on whom, and for how long (P9).

Type1 counts pages as locked, iommufd as pinned; both on the process that mapped them.
"""

import ctypes
import errno
import mmap
import subprocess

import pytest

from vfio_hw.host.forked import forked
from vfio_hw.uapi import lib
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.dma import PAGE, Accounted, Memory, accounted, first_iova, memory
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.opened import opened

READ = lib.VFIO_DMA_MAP_FLAG_READ
# Not declared by the module mmap. Source: asm-generic/mman-common.h.
PROT_NONE = 0

_libc = ctypes.CDLL(None, use_errno=True)


def protect(ours: Memory, first: int, access: int) -> None:
    """Allow ourselves only ``access`` to the page with this number, and those behind it."""
    start, size = ours.vaddr + first * PAGE, ours.size - first * PAGE
    assert _libc.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(size), access) == 0


def counted(since: Accounted, pid: int | str = "self") -> int:
    """By how many bytes more is counted now, as locked, pinned or both."""
    now = accounted(pid)
    more = {now.locked - since.locked, now.pinned - since.pinned}
    assert len(more - {0}) < 2, f"{since} {now}"
    return max(more, key=abs)


@pytest.mark.promise("P9")
def test_every_mapping_counts_as_its_size_until_it_goes(edu, iommu_mode):
    """Also where two show the same memory; and none when everything is closed with them."""
    before = accounted()
    with memory(4 * PAGE) as ours:
        with opened(edu.path, iommu_mode) as user:
            iommu, base = user.iommu, first_iova(user.iommu, 16 * PAGE)
            places = {base: 1, base + 4 * PAGE: 4, base + 8 * PAGE: 2, base + 12 * PAGE: 1}
            total = 0
            for iova, pages in places.items():
                iommu.map_dma(iova, ours.vaddr, pages * PAGE)
                total += pages
                assert counted(before) == total * PAGE
            for iova in (base + 4 * PAGE, base):
                iommu.unmap_dma(iova, places[iova] * PAGE)
                total -= places[iova]
                assert counted(before) == total * PAGE
        assert accounted() == before


@pytest.mark.promise("P9")
def test_a_mapping_counts_while_a_real_device_is_in_the_container(mtty, edu):
    """A mediated device alone pins nothing; what its container had before the other came counts."""
    before = accounted()
    with (
        Container() as container,
        Group(mtty.iommu_group) as mediated,
        Group(edu.iommu_group) as real,
        memory(4 * PAGE) as ours,
    ):
        mediated.set_container(container)
        container.set_iommu(lib.VFIO_TYPE1v2_IOMMU)
        for _ in range(2):
            container.map_dma(PAGE, ours.vaddr, 4 * PAGE)
            assert accounted() == before
            real.set_container(container)
            assert counted(before) == 4 * PAGE
            real.unset_container()
            assert accounted() == before
            assert container.unmap_dma(PAGE, 4 * PAGE) == 4 * PAGE


@pytest.mark.promise("P7")
def test_memory_that_can_not_all_be_pinned_is_not_mapped(edu, iommu_mode):
    """From some page on nobody may touch it. Nothing stays counted, and the iova is free."""
    before = accounted()
    with opened(edu.path, iommu_mode) as user, memory(4 * PAGE) as ours:
        iommu, iova = user.iommu, first_iova(user.iommu, 4 * PAGE)
        for bad in (3, 1, 0):
            protect(ours, bad, PROT_NONE)
            assert iommu.map_dma_errno(iova, ours.vaddr, 4 * PAGE) == errno.EFAULT
            assert accounted() == before
        assert iommu.unmap_all() == 0
        protect(ours, 0, mmap.PROT_READ | mmap.PROT_WRITE)
        assert iommu.map_dma_errno(iova, ours.vaddr, 4 * PAGE) == 0


@pytest.mark.promise("P8")
def test_memory_that_we_may_only_read_devices_may_only_read(edu, iommu_mode):
    with opened(edu.path, iommu_mode) as user, memory() as ours:
        iommu, iova = user.iommu, first_iova(user.iommu)
        protect(ours, 0, mmap.PROT_READ)
        assert iommu.map_dma_errno(iova, ours.vaddr, PAGE) == errno.EFAULT
        assert iommu.map_dma_errno(iova, ours.vaddr, PAGE, READ) == 0


@pytest.mark.promise("P9")
def test_a_mapping_counts_for_the_process_that_made_it(edu, iommu_mode):
    """Another one with the same descriptor can take it back, and is not credited for that."""
    before = accounted()
    with opened(edu.path, iommu_mode) as user, memory(4 * PAGE) as ours:
        iova = first_iova(user.iommu, 4 * PAGE)

        def life(ready):
            user.iommu.map_dma(iova, ours.vaddr, 4 * PAGE)
            ready()

        with forked(life) as child:
            assert counted(Accounted(0, 0), child) == 4 * PAGE
            assert accounted() == before
            assert user.iommu.unmap_dma(iova, 4 * PAGE) == 4 * PAGE
            assert accounted(child) == Accounted(0, 0)
            assert accounted() == before


@pytest.mark.promise("P9")
def test_a_mapping_outlives_the_program_that_made_it_and_is_not_the_next_ones(edu, iommu_mode):
    """The process executes another program, and keeps the descriptors that hold the mapping."""
    before = accounted()
    with opened(edu.path, iommu_mode) as user, memory(4 * PAGE) as ours:
        iova = first_iova(user.iommu, 4 * PAGE)

        def at_last() -> None:
            user.iommu.map_dma(iova, ours.vaddr, 4 * PAGE)
            assert counted(Accounted(0, 0)) == 4 * PAGE

        kept = [each.fileno() for each in (user.device, user.container or user.iommufd)]
        with subprocess.Popen(["sleep", "60"], preexec_fn=at_last, pass_fds=kept) as child:
            try:
                assert accounted(child.pid) == Accounted(0, 0)
                assert user.iommu.map_dma_errno(iova, ours.vaddr, PAGE) == errno.EEXIST
                assert user.iommu.unmap_dma(iova, 4 * PAGE) == 4 * PAGE
                assert accounted(child.pid) == Accounted(0, 0)
                assert accounted() == before
            finally:
                child.kill()


@pytest.mark.promise("P9")
def test_a_mapping_that_its_maker_left_behind_goes_with_the_last_descriptor(edu, iommu_mode):
    """The maker has ended; what it had pinned is free again, or the leak oracle tells."""
    before = accounted()
    with opened(edu.path, iommu_mode) as user, memory(4 * PAGE) as ours:
        iova = first_iova(user.iommu, 4 * PAGE)

        def life(ready):
            user.iommu.map_dma(iova, ours.vaddr, 4 * PAGE)
            ready()

        with forked(life):
            pass
        assert user.iommu.map_dma_errno(iova, ours.vaddr, PAGE) == errno.EEXIST
        assert accounted() == before
    assert accounted() == before
