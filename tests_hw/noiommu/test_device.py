"""This file checks that a device that no IOMMU guards is a device like any other (P8, P1, P2).

Source: Documentation/driver-api/vfio.rst, "VFIO NOIOMMU mode": all of the device's own uAPI works.
"""

import pytest

from vfio_hw.devices.edu import ACKNOWLEDGE, RAISE, STATUS, acknowledged
from vfio_hw.devices.kinds import kind
from vfio_hw.fixtures import Target
from vfio_hw.uapi import lib
from vfio_hw.vfio import irq
from vfio_hw.vfio.config import DEVICE, VENDOR
from vfio_hw.vfio.dma import PAGE
from vfio_hw.vfio.feature import PROBE, feature_errno
from vfio_hw.vfio.opened import Opened, opened

pytestmark = pytest.mark.machine("noiommu")

BIT = 1 << 4
PROMPT = 5.0
WATCHED = 0.1


@pytest.mark.promise("P8")
def test_it_has_all_that_its_kind_has(bare: Target, user: Opened):
    promised = kind(bare.kind)
    info = user.device.info()
    assert info.flags & promised.flags == promised.flags
    for index, region in promised.regions.items():
        found = user.device.region(index)
        assert found.size > 0, index
        assert found.flags & region.flags == region.flags, index
    for index, interrupt in promised.interrupts.items():
        if interrupt.there.holds():
            assert user.device.irq(index).count >= interrupt.count, index
    for name, feature in promised.features.items():
        if feature.holds():
            number = getattr(lib, f"VFIO_DEVICE_FEATURE_{name}")
            assert feature_errno(user.device, number | PROBE) == 0, name


@pytest.mark.promise("P8")
def test_its_config_space_is_that_of_sysfs(bare: Target, user: Opened):
    config = user.device.config()
    assert config.get(VENDOR, 2) == bare.handle.vendor
    assert config.get(DEVICE, 2) == bare.handle.device


@pytest.mark.promise("P8")
def test_its_interrupts_arrive(bare_edu: Target, noiommu_mode):
    """INTx, which masks itself, and MSI; raised by the device."""
    with opened(bare_edu.path, noiommu_mode) as user, acknowledged(user.device) as registers:
        with irq.armed(user.device, lib.VFIO_PCI_INTX_IRQ_INDEX) as [eventfd]:
            registers.put(RAISE, 4, BIT)
            assert eventfd.wait(PROMPT) == 1
            assert registers.get(STATUS, 4) == BIT
            assert eventfd.silent(WATCHED)
            registers.put(ACKNOWLEDGE, 4, BIT)
            irq.unmask(user.device, lib.VFIO_PCI_INTX_IRQ_INDEX)
        user.device.config().enable_master()
        with irq.armed(user.device, lib.VFIO_PCI_MSI_IRQ_INDEX) as [eventfd]:
            registers.put(RAISE, 4, BIT)
            assert eventfd.wait(PROMPT) == 1
            registers.put(ACKNOWLEDGE, 4, BIT)


@pytest.mark.promise("P8")
def test_its_memory_is_mapped(bare_edu: Target, noiommu_mode):
    """What is read through the mapping is what a read of the region says."""
    with opened(bare_edu.path, noiommu_mode) as user:
        region = user.device.region(lib.VFIO_PCI_BAR0_REGION_INDEX)
        with region.mmapped(0, PAGE) as pages, memoryview(pages) as view, view.cast("I") as words:
            assert words[0] == region.get(0, 4)


@pytest.mark.promise("P2")
def test_its_owner_is_asked_for_it(bare: Target, user: Opened):
    with irq.armed(user.device, lib.VFIO_PCI_REQ_IRQ_INDEX) as [request], bare.removal() as removal:
        assert request.wait(PROMPT) == 1
        assert removal.wait(WATCHED) is None
        user.device.close()
        removal.must_return(PROMPT)
