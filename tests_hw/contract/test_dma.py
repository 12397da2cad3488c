"""This file checks mapping and unmapping of iovas in every IOMMU mode (P8), and the accounts (P9).

A mapping for a real device pins its pages at once; one for a mediated device pins nothing until the
device's driver asks for a page, and mtty never does.
"""

import errno
from pathlib import Path

import pytest

from vfio_hw.host.iommu import reserved_iovas
from vfio_hw.vfio.dma import PAGE, first_iova, mapped, memory
from vfio_hw.vfio.opened import IOMMU_MODES, opened

TOP = 2**64


@pytest.fixture(params=["mtty", "edu"])
def device(request: pytest.FixtureRequest):
    """A mediated device, for which iovas are only noted, and one behind the machine's IOMMU."""
    return request.getfixturevalue(request.param)


def pinned() -> tuple[int, int]:
    """Bytes of ours that are locked and pinned, as the kernel accounts for them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    locked, pins = (int(found[name].split()[0]) * 1024 for name in ("VmLck", "VmPin"))
    return locked, pins


@pytest.mark.promise("P8")
def test_unmapping_gives_back_as_many_bytes_as_were_mapped(device, iommu_mode):
    with opened(device.path, iommu_mode) as user, memory(4 * PAGE) as ours:
        iommu, iova = user.iommu, first_iova(user.iommu, 4 * PAGE)
        for size in (PAGE, 4 * PAGE):
            iommu.map_dma(iova, ours.vaddr, size)
            assert iommu.unmap_dma(iova, size) == size


@pytest.mark.promise("P8")
def test_what_was_unmapped_is_not_there_to_be_unmapped_again(device, iommu_mode):
    """The container's request then says 0 bytes; that of the IOAS says ENOENT."""
    with opened(device.path, iommu_mode) as user:
        with mapped(user.iommu) as (_, iova):
            pass
        if iommu_mode == "iommufd":
            assert user.iommu.unmap_dma_errno(iova, PAGE) == errno.ENOENT
        else:
            assert user.iommu.unmap_dma(iova, PAGE) == 0


@pytest.mark.promise("P8")
def test_unmapping_all_takes_every_mapping(device, iommu_mode):
    with opened(device.path, iommu_mode) as user, memory(2 * PAGE) as ours:
        iommu, iova = user.iommu, first_iova(user.iommu, 4 * PAGE)
        iommu.map_dma(iova, ours.vaddr, PAGE)
        iommu.map_dma(iova + 2 * PAGE, ours.vaddr, 2 * PAGE)
        assert iommu.unmap_all() == 3 * PAGE
        assert iommu.unmap_all() == 0
        assert iommu.map_dma_errno(iova, ours.vaddr, PAGE) == 0


@pytest.mark.promise("P8")
def test_one_range_unmaps_several_mappings(device, iommu_mode):
    with opened(device.path, iommu_mode) as user, memory() as ours:
        iommu, iova = user.iommu, first_iova(user.iommu, 4 * PAGE)
        iommu.map_dma(iova, ours.vaddr, PAGE)
        iommu.map_dma(iova + 2 * PAGE, ours.vaddr, PAGE)
        assert iommu.unmap_dma(iova, 4 * PAGE) == 2 * PAGE


@pytest.mark.promise("P8")
def test_mappings_do_not_overlap(device, iommu_mode):
    with opened(device.path, iommu_mode) as user, memory(3 * PAGE) as ours:
        iommu, iova = user.iommu, first_iova(user.iommu, 3 * PAGE)
        iommu.map_dma(iova + PAGE, ours.vaddr, PAGE)
        for first, size in ((iova + PAGE, PAGE), (iova, 2 * PAGE), (iova, 3 * PAGE)):
            assert iommu.map_dma_errno(first, ours.vaddr, size) == errno.EEXIST
        assert iommu.map_dma_errno(iova, ours.vaddr, PAGE) == 0
        assert iommu.map_dma_errno(iova + 2 * PAGE, ours.vaddr, PAGE) == 0


@pytest.mark.promise("P8")
def test_what_is_not_aligned_or_empty_is_not_mapped(device, iommu_mode):
    with opened(device.path, iommu_mode) as user, memory(2 * PAGE) as ours:
        iommu, iova = user.iommu, first_iova(user.iommu, 2 * PAGE)
        for first, vaddr, size in (
            (iova + 512, ours.vaddr, PAGE),
            (iova, ours.vaddr + 512, PAGE),
            (iova, ours.vaddr, 512),
            (iova, ours.vaddr, 0),
        ):
            assert iommu.map_dma_errno(first, vaddr, size) == errno.EINVAL
        assert iommu.map_dma_errno(iova, ours.vaddr, PAGE) == 0


@pytest.mark.promise("P8")
def test_a_mapping_that_nobody_may_use_is_refused(device, iommu_mode):
    """Source: linux/vfio.h, VFIO_IOMMU_MAP_DMA: "READ &/ WRITE required"."""
    with opened(device.path, iommu_mode) as user, memory() as ours:
        answer = user.iommu.map_dma_errno(first_iova(user.iommu), ours.vaddr, PAGE, 0)
        assert answer == errno.EINVAL


@pytest.mark.promise("P8")
def test_a_range_that_wraps_is_neither_mapped_nor_unmapped(device, iommu_mode):
    """EOVERFLOW; from the Type1 of older kernels (6.12) EINVAL."""
    wraps = {errno.EOVERFLOW}
    if iommu_mode.startswith("vfio"):
        wraps.add(errno.EINVAL)
    with opened(device.path, iommu_mode) as user, memory(2 * PAGE) as ours:
        assert user.iommu.map_dma_errno(TOP - PAGE, ours.vaddr, 2 * PAGE) in wraps
        assert user.iommu.unmap_dma_errno(TOP - PAGE, 2 * PAGE) in wraps


@pytest.mark.promise("P8")
def test_usable_iovas_keep_clear_of_the_reserved_ones(edu, iommu_mode):
    windows = reserved_iovas(edu.path)
    assert windows, "x86 reserves at least the window of the MSI addresses"
    with opened(edu.path, iommu_mode) as user:
        ranges = user.iommu.iova_ranges()
        for low, high in windows:
            assert not [each for each in ranges if each[0] <= high and low <= each[1]]


@pytest.mark.promise("P8")
def test_only_usable_iovas_are_mapped(edu, iommu_mode):
    """The last page of each range is, the page behind it is not."""
    with opened(edu.path, iommu_mode) as user, memory() as ours:
        for _, last in user.iommu.iova_ranges():
            end = (last + 1) // PAGE * PAGE
            assert user.iommu.map_dma_errno(end - PAGE, ours.vaddr, PAGE) == 0
            if end < TOP:
                assert user.iommu.map_dma_errno(end, ours.vaddr, PAGE) == errno.EINVAL


@pytest.mark.promise("P9")
def test_a_mapping_is_accounted_for_while_it_lasts(edu, iommu_mode):
    """As locked by Type1, as pinned by iommufd; never as more than it is."""
    before = pinned()
    with opened(edu.path, iommu_mode) as user:
        assert pinned() == before
        with mapped(user.iommu, 4 * PAGE):
            during = pinned()
            more = [now - then for now, then in zip(during, before, strict=True)]
            assert max(more) == 4 * PAGE
            assert min(more) in (0, 4 * PAGE)
        assert pinned() == before
    assert pinned() == before


@pytest.mark.promise("P9")
def test_a_mapping_for_a_mediated_device_pins_nothing(mtty, iommu_mode):
    before = pinned()
    with opened(mtty.path, iommu_mode) as user, mapped(user.iommu, 4 * PAGE):
        assert pinned() == before


@pytest.mark.promise("P9")
def test_closing_everything_takes_the_mappings_with_it(device, iommu_mode):
    before = pinned()
    with memory(4 * PAGE) as ours:
        with opened(device.path, iommu_mode) as user:
            user.iommu.map_dma(first_iova(user.iommu, 4 * PAGE), ours.vaddr, 4 * PAGE)
        assert pinned() == before


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", ["vfio_type1_iommu", "vfio_type1v2_iommu"])
def test_a_container_counts_the_mappings_that_still_fit(device, mode):
    with opened(device.path, mode) as user:
        before = user.container.get_info().dma_avail
        with mapped(user.iommu):
            assert user.container.get_info().dma_avail == before - 1
        assert user.container.get_info().dma_avail == before


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", [mode for mode in IOMMU_MODES if mode != "iommufd"])
def test_the_smallest_page_size_of_a_container_is_ours(device, mode):
    with opened(device.path, mode) as user:
        pgsizes = user.container.get_info().pgsizes
        assert pgsizes & -pgsizes == PAGE


@pytest.mark.promise("P8")
def test_the_address_space_of_the_container_part_can_be_exchanged(device):
    """Source: IOMMU_VFIO_IOAS in linux/iommufd.h."""
    with opened(device.path, "iommufd_compat_type1v2") as user, memory() as ours:
        iommufd = user.iommufd
        first, iova = iommufd.vfio_ioas(), first_iova(user.iommu)
        user.iommu.map_dma(iova, ours.vaddr, PAGE)
        iommufd.set_vfio_ioas(iommufd.ioas_alloc())
        assert user.iommu.unmap_dma(iova, PAGE) == 0
        iommufd.clear_vfio_ioas()
        assert iommufd.vfio_ioas_errno() == errno.ENODEV
        assert user.iommu.map_dma_errno(iova, ours.vaddr, PAGE) == errno.ENODEV
        assert first.unmap_dma(iova, PAGE) == PAGE
