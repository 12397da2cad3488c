"""This file checks that the IOMMU stops a device at what its user has not mapped for it (P8).

And that each attempt is reported: one read and one write, of 4 bytes, which no emulated bus splits
into several. More than a few at a time the kernel would keep to itself.
"""

import pytest

from vfio_hw.devices.edu_dma import engine
from vfio_hw.uapi import lib
from vfio_hw.vfio.dma import PAGE, first_iova, mapped, memory
from vfio_hw.vfio.opened import opened

MODES = ["vfio_type1v2_iommu", "iommufd_compat_type1v2", "iommufd"]
READ, WRITE = lib.VFIO_DMA_MAP_FLAG_READ, lib.VFIO_DMA_MAP_FLAG_WRITE
SECRET, OTHER = b"\x5e\xc4\xe7\x01", b"\x07\x4e\xa5\xb2"
SIZE = len(SECRET)


@pytest.mark.promise("P8")
@pytest.mark.iommu_faults("edu", "read", "write")
@pytest.mark.parametrize("mode", MODES)
def test_a_device_neither_reads_nor_writes_what_is_not_mapped(edu, mode):
    """It was mapped and reached until just before, and what is beside it still is."""
    with opened(edu.path, mode) as user:
        copier, iova = engine(user.device), first_iova(user.iommu, 2 * PAGE)
        with mapped(user.iommu, PAGE, iova + PAGE) as (beside, target), memory() as ours:
            user.iommu.map_dma(iova, ours.vaddr, PAGE)
            ours.bytes[:SIZE] = SECRET
            copier.copy(iova, target, SIZE)
            assert bytes(beside.bytes[:SIZE]) == SECRET
            assert user.iommu.unmap_dma(iova, PAGE) == PAGE
            beside.bytes[:SIZE] = OTHER
            copier.load(target, SIZE)
            copier.store(iova, SIZE)
            assert bytes(ours.bytes) == SECRET + bytes(PAGE - SIZE)
            copier.copy(iova, target, SIZE)
            assert bytes(beside.bytes[:SIZE]) != SECRET
            assert bytes(beside.bytes[SIZE:]) == bytes(PAGE - SIZE)


@pytest.mark.promise("P8")
@pytest.mark.iommu_faults("edu", "read", "write")
@pytest.mark.parametrize("mode", MODES)
def test_a_device_does_not_write_what_it_may_read_nor_read_what_it_may_write(edu, mode):
    """It tries on pages that it has not used: QEMU reports nothing of those that it has cached."""
    with opened(edu.path, mode) as user:
        copier, iova = engine(user.device), first_iova(user.iommu, 5 * PAGE)
        source, target, end = iova, iova + 2 * PAGE, iova + 4 * PAGE
        with mapped(user.iommu, PAGE, end) as (free, shown), memory(4 * PAGE) as ours:
            user.iommu.map_dma(source, ours.vaddr, 2 * PAGE, READ)
            user.iommu.map_dma(target, ours.vaddr + 2 * PAGE, 2 * PAGE, WRITE)
            ours.bytes[:SIZE] = SECRET
            copier.copy(source, target, SIZE)
            assert bytes(ours.bytes[2 * PAGE : 2 * PAGE + SIZE]) == SECRET
            ours.bytes[3 * PAGE : 3 * PAGE + SIZE] = SECRET
            free.bytes[:SIZE] = OTHER
            copier.load(shown, SIZE)
            copier.store(source + PAGE, SIZE)
            assert bytes(ours.bytes[PAGE : 2 * PAGE]) == bytes(PAGE)
            copier.copy(target + PAGE, shown, SIZE)
            assert bytes(free.bytes[:SIZE]) != SECRET
            for where in (source, target):
                assert user.iommu.unmap_dma(where, 2 * PAGE) == 2 * PAGE
