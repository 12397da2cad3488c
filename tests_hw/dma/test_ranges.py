"""This file checks which ranges are mapped and unmapped (P8), and that refusals leave nothing (P7).

Ranges and addresses lie at the ends of the 64-bit space, wrap round them, are a byte off, or cut a
mapping in two.
"""

import errno

import pytest

from vfio_hw.devices.edu_dma import engine
from vfio_hw.uapi import lib
from vfio_hw.vfio.dma import PAGE, accounted, first_iova, memory
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.opened import opened

TOP = 2**64
COMPAT = ["iommufd_compat_type1", "iommufd_compat_type1v2"]
CONTAINERS = ["vfio_type1_iommu", "vfio_type1v2_iommu"]
ALL = lib.VFIO_DMA_UNMAP_FLAG_ALL
VADDR = lib.VFIO_DMA_UNMAP_FLAG_VADDR
BITMAP = lib.VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP
TEXT = b"the device does not care whose address it was"


@pytest.fixture(params=["mtty", "edu"])
def device(request: pytest.FixtureRequest):
    """A mediated device, for which iovas are only noted, and one behind the machine's IOMMU."""
    return request.getfixturevalue(request.param)


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_no_range_that_is_off_or_wraps_is_mapped(device, iommu_mode):
    """Several faults at once are refused as well, and all the room is there afterwards."""
    refusals = {errno.EINVAL, errno.EOVERFLOW}
    before = accounted()
    with opened(device.path, iommu_mode) as user, memory(2 * PAGE) as ours:
        iommu, good, vaddr = user.iommu, first_iova(user.iommu, 2 * PAGE), ours.vaddr
        for iova, address, size in (
            *((good + off, vaddr, PAGE) for off in (1, 8, PAGE // 2, PAGE - 1)),
            *((good, vaddr + off, PAGE) for off in (1, 8, PAGE // 2, PAGE - 1)),
            *((good, vaddr, size) for size in (0, 1, PAGE - 1, PAGE + 1, 2 * PAGE - 8)),
            *((TOP - PAGE, vaddr, size) for size in (2 * PAGE, TOP // 2, TOP - PAGE)),
            *((good, TOP - PAGE, size) for size in (2 * PAGE, TOP // 2, TOP - PAGE)),
            *((good, vaddr, size) for size in (TOP - 1, TOP - PAGE, TOP - 2 * PAGE)),
            (TOP - 1, vaddr, 1),
            (TOP - 1, TOP - 1, TOP - 1),
            (TOP - PAGE + 1, vaddr, PAGE),
            (good + 1, vaddr + 1, PAGE + 1),
        ):
            answer = iommu.map_dma_errno(iova, address, size)
            assert answer in refusals, f"{size:#x} bytes at {address:#x} under {iova:#x}"
            assert accounted() == before
        assert iommu.unmap_all() == 0
        assert iommu.map_dma_errno(good, vaddr, 2 * PAGE) == 0


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_no_range_that_is_empty_off_or_wraps_is_unmapped(device, iommu_mode):
    with opened(device.path, iommu_mode) as user, memory(2 * PAGE) as ours:
        iommu, iova = user.iommu, first_iova(user.iommu, 3 * PAGE) + PAGE
        iommu.map_dma(iova, ours.vaddr, 2 * PAGE)
        for first, size in (
            (iova, 0),
            *((iova + off, PAGE) for off in (1, PAGE // 2, PAGE - 1)),
            *((iova, PAGE + off) for off in (-1, 1, PAGE // 2)),
            *((iova, size) for size in (TOP - 1, TOP - PAGE)),
            *((TOP - PAGE, size) for size in (2 * PAGE, TOP // 2, TOP - PAGE)),
            (TOP - 1, 2),
        ):
            answer = iommu.unmap_dma_errno(first, size)
            assert answer in (errno.EINVAL, errno.EOVERFLOW, errno.ENOENT), f"{first:#x} {size:#x}"
        assert iommu.unmap_dma(iova, 2 * PAGE) == 2 * PAGE


@pytest.mark.promise("P8")
def test_the_last_page_of_all_is_an_iova_like_any_other(mtty, iommu_mode):
    """Where no IOMMU limits them, iovas reach to the end of the 64-bit space.

    Only a range over all of it can not be told: its size is not a number.
    """
    with opened(mtty.path, iommu_mode) as user, memory(2 * PAGE) as ours:
        iommu = user.iommu
        assert iommu.map_dma_errno(TOP - 2 * PAGE, ours.vaddr, 2 * PAGE) == 0
        assert iommu.map_dma_errno(TOP - PAGE, ours.vaddr, PAGE) == errno.EEXIST
        assert iommu.map_dma_errno(0, ours.vaddr, PAGE) == 0
        assert iommu.unmap_dma(TOP - 2 * PAGE, 2 * PAGE) == 2 * PAGE
        assert iommu.map_dma_errno(TOP - PAGE, ours.vaddr, PAGE) == 0
        assert iommu.unmap_dma(PAGE, TOP - PAGE) == PAGE
        assert iommu.unmap_all() == PAGE


@pytest.mark.promise("P8")
def test_of_a_part_of_a_mapping_what_is_told_to_be_gone_is_gone(device, iommu_mode):
    """Which parts can be unmapped depends on the version.

    The first version of Type1 unmaps the whole with its first page and nothing with another, and
    calls both a success; the second refuses either. The others are iommufd's, which cuts a mapping
    in two only in the place of a first version. Source: vfio_dma_do_unmap() in
    vfio_iommu_type1.c, iommufd_vfio_unmap_dma() in vfio_compat.c.
    """
    with opened(device.path, iommu_mode) as user, memory(3 * PAGE) as ours:
        iommu, iova = user.iommu, first_iova(user.iommu, 3 * PAGE)
        for first, count in ((0, 1), (1, 1), (2, 1), (0, 2), (1, 2)):
            refusal, gone = {
                "vfio_type1_iommu": (0, 0 if first else 3),
                "vfio_type1v2_iommu": (errno.EINVAL, 0),
                "iommufd_compat_type1": (0, count),
                "iommufd_compat_type1v2": (errno.ENOENT, 0),
                "iommufd": (errno.ENOENT, 0),
            }[iommu_mode]
            iommu.map_dma(iova, ours.vaddr, 3 * PAGE)
            where = (iova + first * PAGE, count * PAGE)
            if refusal:
                assert iommu.unmap_dma_errno(*where) == refusal, where
            else:
                assert iommu.unmap_dma(*where) == gone * PAGE, where
            assert iommu.unmap_all() == (3 - gone) * PAGE, where


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", CONTAINERS + COMPAT)
def test_flags_of_an_unmap_that_do_not_fit_are_refused(device, mode):
    """ALL takes no range, goes with no bitmap; flags without a meaning have none."""
    with opened(device.path, mode) as user, memory() as ours:
        container, iova = user.container, first_iova(user.iommu)
        container.map_dma(iova, ours.vaddr, PAGE)
        for flags, first, size in (
            (ALL, iova, 0),
            (ALL, 0, PAGE),
            (ALL, iova, PAGE),
            (ALL, 1, 0),
            (ALL, 0, TOP - 1),
            (ALL | BITMAP, 0, 0),
            *((1 << bit, iova, PAGE) for bit in (3, 4, 31)),
        ):
            answer = container.unmap_with_errno(flags, first, size, bytes(24))
            assert answer == errno.EINVAL, f"{flags:#x} {first:#x} {size:#x}"
        assert container.unmap_with(ALL, 0, 0) == PAGE


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@pytest.mark.parametrize("mode", CONTAINERS + COMPAT)
def test_flags_of_a_mapping_that_have_no_meaning_are_refused(device, mode):
    """Whatever they come with; nor does VFIO_DMA_MAP_FLAG_VADDR go with a permission.

    Nothing is mapped, or counted.
    """
    read, write = lib.VFIO_DMA_MAP_FLAG_READ, lib.VFIO_DMA_MAP_FLAG_WRITE
    vaddr = lib.VFIO_DMA_MAP_FLAG_VADDR
    with opened(device.path, mode) as user, memory() as ours:
        container, where = user.container, (first_iova(user.iommu), ours.vaddr, PAGE)
        before, room = accounted(), container.get_info().dma_avail
        for unknown in (vaddr, *(1 << bit for bit in range(3, 32)), 2**32 - 8):
            for others in (0, read, write, read | write):
                if unknown != vaddr or others:
                    flags = unknown | others
                    assert container.map_dma_errno(*where, flags) == errno.EINVAL, f"{flags:#x}"
        assert accounted() == before
        assert container.get_info().dma_avail == room
        assert container.unmap_all() == 0
        assert container.map_dma_errno(*where, read) == 0
        assert container.unmap_all() == PAGE


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", CONTAINERS)
def test_only_an_address_that_was_made_invalid_is_exchanged(edu, mode):
    """And only for the same range. The mapping is never gone meanwhile, nor counted twice."""
    update = lib.VFIO_DMA_MAP_FLAG_VADDR
    with opened(edu.path, mode) as user, memory(2 * PAGE) as old, memory(2 * PAGE) as new:
        container, iova = user.container, first_iova(user.iommu, 4 * PAGE)
        assert container.check_extension(lib.VFIO_UPDATE_VADDR) == 1
        container.map_dma(iova, old.vaddr, 2 * PAGE)
        during = accounted()
        again = (iova, new.vaddr, 2 * PAGE)
        assert container.map_dma_errno(*again, update) == errno.EINVAL
        assert container.unmap_with_errno(VADDR | BITMAP, iova, 2 * PAGE, bytes(24)) == errno.EINVAL
        assert container.unmap_with(VADDR, iova, 2 * PAGE) == 2 * PAGE
        assert container.unmap_with_errno(VADDR, iova, 2 * PAGE) == errno.EINVAL
        assert container.map_dma_errno(*again) == errno.EEXIST
        for wrong in (lib.VFIO_DMA_MAP_FLAG_READ, lib.VFIO_DMA_MAP_FLAG_WRITE):
            assert container.map_dma_errno(*again, update | wrong) == errno.EINVAL
        assert container.map_dma_errno(iova, new.vaddr, PAGE, update) == errno.EINVAL
        behind = container.map_dma_errno(iova + 2 * PAGE, new.vaddr, PAGE, update)
        assert behind == errno.ENOENT
        assert container.map_dma_errno(*again, update) == 0
        assert container.map_dma_errno(*again, update) == errno.EINVAL
        assert accounted() == during
        assert container.unmap_with(VADDR | ALL, 0, 0) == 2 * PAGE
        assert container.unmap_dma(iova, 2 * PAGE) == 2 * PAGE


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@pytest.mark.parametrize("mode", CONTAINERS)
def test_while_an_address_is_invalid_dma_goes_on_and_no_group_joins(edu, e1000e, mode):
    """One invalid address of several is enough; the group joins when there is none any more.

    Which errno refuses it is left open. Source: linux/vfio.h, VFIO_DMA_UNMAP_FLAG_VADDR.
    """
    with (
        opened(edu.path, mode) as user,
        Group(e1000e.iommu_group) as group,
        memory(2 * PAGE) as ours,
    ):
        container, dma = user.container, engine(user.device)
        first = first_iova(user.iommu, 2 * PAGE)
        second = first + PAGE
        container.map_dma(first, ours.vaddr, PAGE)
        container.map_dma(second, ours.vaddr + PAGE, PAGE)
        for iova, vaddr in ((first, ours.vaddr), (second, ours.vaddr + PAGE)):
            during = accounted()
            assert container.unmap_with(VADDR, iova, PAGE) == PAGE
            for invalid in (True, False):
                ours.bytes[:] = bytes(2 * PAGE)
                ours.bytes[: len(TEXT)] = TEXT
                dma.copy(first, second + 8, len(TEXT))
                assert bytes(ours.bytes[PAGE + 8 : PAGE + 8 + len(TEXT)]) == TEXT
                if invalid:
                    assert group.set_container_errno(container) != 0
                    assert not group.status().container_set
                    assert accounted() == during
                    container.map_dma(iova, vaddr, PAGE, lib.VFIO_DMA_MAP_FLAG_VADDR)
                else:
                    assert group.set_container_errno(container) == 0
                    assert group.device_errno(e1000e.address) == 0
                    group.unset_container()
        assert container.unmap_all() == 2 * PAGE


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", CONTAINERS)
def test_an_address_stays_while_a_mediated_device_may_use_it(mtty, mode):
    """Source: linux/vfio.h, VFIO_UPDATE_VADDR: not with a mediated device in the container."""
    with opened(mtty.path, mode) as user, memory() as ours:
        container = user.container
        assert container.check_extension(lib.VFIO_UPDATE_VADDR) == 0
        container.map_dma(PAGE, ours.vaddr, PAGE)
        for flags, where in ((VADDR, (PAGE, PAGE)), (VADDR | ALL, (0, 0))):
            assert container.unmap_with_errno(flags, *where) == errno.EBUSY
        assert container.unmap_dma(PAGE, PAGE) == PAGE
