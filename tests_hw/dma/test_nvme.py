"""This file checks that an NVM Express controller reaches what is mapped for it, and no more (P8).

It reads its commands from memory, and writes what it is and that it is done to memory. Source:
linux/vfio.h, VFIO_DMA_MAP_FLAG_READ and _WRITE: what the device may do.
"""

import contextlib

import pytest

from vfio_hw.devices.nvme import DONE, FAILED, enabled
from vfio_hw.uapi import lib
from vfio_hw.vfio import irq
from vfio_hw.vfio.config import VENDOR
from vfio_hw.vfio.dma import PAGE, first_iova, memory
from vfio_hw.vfio.opened import IOMMU_MODES, opened

READ, WRITE = lib.VFIO_DMA_MAP_FLAG_READ, lib.VFIO_DMA_MAP_FLAG_WRITE
MODES = ["vfio_type1v2_iommu", "iommufd_compat_type1v2", "iommufd"]
PROMPT = 5.0
# Bytes that no controller tells of itself.
UNTOUCHED = b"\xa5" * PAGE


@contextlib.contextmanager
def admin(user, submissions=READ, completions=WRITE):
    """A controller whose queues are mapped with just the permissions that it needs; a data page.

    Yields the controller, the data page, and the iova of the page behind the queues, where nothing
    is mapped.
    """
    with memory() as first, memory() as second, memory() as data:
        iova = first_iova(user.iommu, 4 * PAGE)
        user.iommu.map_dma(iova, first.vaddr, PAGE, submissions)
        user.iommu.map_dma(iova + PAGE, second.vaddr, PAGE, completions)
        data.bytes[:] = UNTOUCHED
        with enabled(user.device, (first, iova), (second, iova + PAGE)) as controller:
            yield controller, data, iova + 2 * PAGE
        user.iommu.unmap_all()


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", IOMMU_MODES)
def test_a_controller_says_what_it_is(nvme, mode):
    """More often than its queues are long; each time to a page that it may only write."""
    with opened(nvme.path, mode) as user, admin(user) as (controller, data, iova):
        user.iommu.map_dma(iova, data.vaddr, PAGE, WRITE)
        for _ in range(20):
            data.bytes[:] = UNTOUCHED
            assert controller.identify(iova) == DONE
            said = bytes(data.bytes)
            assert int.from_bytes(said[:2], "little") == nvme.vendor
            assert b"\xa5" not in said[4:24], "its serial number"
        assert user.device.config().get(VENDOR, 2) == nvme.vendor


@pytest.mark.promise("P8")
@pytest.mark.iommu_faults("nvme")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["read-only", "unmapped", "not mapped"])
def test_a_controller_does_not_write_what_it_may_not(nvme, mode, how):
    """The memory is as it was, the IOMMU reports it, and it does no lasting harm."""
    with opened(nvme.path, mode) as user, admin(user) as (controller, data, iova):
        if how != "not mapped":
            user.iommu.map_dma(iova, data.vaddr, PAGE, READ if how == "read-only" else WRITE)
        if how == "unmapped":
            assert controller.identify(iova) == DONE
            data.bytes[:] = UNTOUCHED
            user.iommu.unmap_dma(iova, PAGE)
        # QEMU's controller does not notice, and says that it is done; another may say that it is
        # not, or fail for good.
        said = controller.identify(iova)
        assert bytes(data.bytes) == UNTOUCHED
        if said == FAILED:
            controller.restart()
        if how == "read-only":
            user.iommu.unmap_dma(iova, PAGE)
        user.iommu.map_dma(iova, data.vaddr, PAGE, WRITE)
        assert controller.identify(iova) == DONE


@pytest.mark.promise("P8")
def test_a_controller_that_is_restarted_does_its_work_again(nvme):
    """With the same queues, from their beginning."""
    with opened(nvme.path, "iommufd") as user, admin(user) as (controller, data, iova):
        user.iommu.map_dma(iova, data.vaddr, PAGE, WRITE)
        for _ in range(3):
            data.bytes[:] = UNTOUCHED
            assert controller.identify(iova) == DONE
            assert int.from_bytes(data.bytes[:2], "little") == nvme.vendor
            controller.restart()


@pytest.mark.promise("P8")
def test_a_controller_interrupts_when_it_is_done(nvme):
    """By vector 0 of MSI-X, which its admin queue has; no other vector fires."""
    index = lib.VFIO_PCI_MSIX_IRQ_INDEX
    with (
        opened(nvme.path, "vfio_type1v2_iommu") as user,
        irq.armed(user.device, index, 2) as [mine, other],
        admin(user) as (controller, data, iova),
    ):
        user.iommu.map_dma(iova, data.vaddr, PAGE, WRITE)
        for _ in range(3):
            assert controller.identify(iova) == DONE
            assert mine.wait(PROMPT) == 1
        assert other.fired() == 0
