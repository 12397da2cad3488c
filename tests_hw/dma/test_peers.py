"""This file checks memory that is not the process's own: a BAR of another function, mapped for DMA.

And what was mapped before the device that reaches it was there.
"""

import pytest

from vfio_hw.devices.e1000e import MULTICAST
from vfio_hw.devices.edu import fetch, store
from vfio_hw.uapi import ffi, lib
from vfio_hw.vfio.dma import PAGE, accounted, first_iova, mapped
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.opened import opened

BAR0 = lib.VFIO_PCI_BAR0_REGION_INDEX
MODE = "vfio_type1v2_iommu"
PATTERN = 0x5EED1234
DATA = bytes(range(64))


@pytest.mark.promise("P8")
def test_a_device_reaches_the_bar_of_a_peer_through_the_address_of_its_mapping(edu, e1000e):
    """It is no memory of the process, so nothing of it is locked."""
    page, at = MULTICAST & -PAGE, MULTICAST % PAGE
    with opened(edu.path, MODE) as user, Group(e1000e.iommu_group) as group:
        group.set_container(user.container)
        registers = user.device.region(BAR0)
        user.device.config().enable_master()
        with group.device(e1000e.path.name) as peer:
            bar = peer.region(BAR0)
            iova = first_iova(user.iommu, 2 * PAGE)
            with mapped(user.iommu, PAGE, iova + PAGE) as (ours, target):
                before = accounted()
                with bar.mmapped(page, PAGE) as window, ffi.from_buffer(window) as first:
                    user.iommu.map_dma(iova, int(ffi.cast("uintptr_t", first)), PAGE)
                    assert accounted() == before
                    for pattern in (PATTERN, ~PATTERN & 0xFFFFFFFF):
                        bar.put(MULTICAST, 4, pattern)
                        fetch(registers, iova + at, 4)
                        store(registers, target, 4)
                        assert int.from_bytes(ours.bytes[:4], "little") == pattern
                    assert user.iommu.unmap_dma(iova, PAGE) == PAGE
                assert accounted() == before
        group.unset_container()


@pytest.mark.promise("P8")
def test_what_was_mapped_for_a_mediated_device_is_reached_by_one_that_comes_later(mtty, edu):
    """Nothing is pinned for mtty, which reaches no memory; all of it is as edu comes."""
    with opened(mtty.path, MODE) as user, mapped(user.iommu, 4 * PAGE) as (ours, iova):
        assert accounted().locked == 0
        ours.bytes[: len(DATA)] = DATA
        with Group(edu.iommu_group) as group:
            group.set_container(user.container)
            assert accounted().locked == 4 * PAGE
            with group.device(edu.path.name) as device:
                device.config().enable_master()
                registers = device.region(BAR0)
                fetch(registers, iova, len(DATA))
                store(registers, iova + 3 * PAGE, len(DATA))
            assert bytes(ours.bytes[3 * PAGE : 3 * PAGE + len(DATA)]) == DATA
            group.unset_container()
        assert accounted().locked == 0
