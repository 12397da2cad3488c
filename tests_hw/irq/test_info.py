"""This file checks how many interrupts a device says it has, and what it says of them (P8).

The counts are compared with the registers in the device's own config space.
"""

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.fixtures.interrupts import each_kind_with
from vfio_hw.uapi import lib
from vfio_hw.vfio import config
from vfio_hw.vfio.opened import opened

MODE = "vfio_type1v2_iommu"
AUTOMASKED = lib.VFIO_IRQ_INFO_MASKABLE | lib.VFIO_IRQ_INFO_AUTOMASKED


@pytest.mark.promise("P8")
def test_there_is_one_intx_where_config_space_has_an_interrupt_pin(device: Target):
    with opened(device.path, MODE) as user:
        pin = user.device.config().get(config.INTERRUPT_PIN, 1)
        assert user.device.irq(lib.VFIO_PCI_INTX_IRQ_INDEX).count == (1 if pin else 0)


@pytest.mark.promise("P8")
def test_intx_masks_itself_and_no_other_interrupt_can_be_masked(device: Target):
    with opened(device.path, MODE) as user:
        intx = user.device.irq(lib.VFIO_PCI_INTX_IRQ_INDEX)
        assert intx.flags & (AUTOMASKED | lib.VFIO_IRQ_INFO_NORESIZE) == AUTOMASKED
        assert not user.device.irq(lib.VFIO_PCI_MSI_IRQ_INDEX).flags & AUTOMASKED


@pytest.mark.promise("P8")
def test_every_interrupt_of_a_pci_function_signals_eventfds(pci_device: Target):
    """ERR is left out: older kernels (6.12) have it only for PCI Express functions."""
    with opened(pci_device.path, MODE) as user:
        for index in range(lib.VFIO_PCI_NUM_IRQS):
            if index != lib.VFIO_PCI_ERR_IRQ_INDEX:
                assert user.device.irq(index).flags & lib.VFIO_IRQ_INFO_EVENTFD


@pytest.mark.promise("P8")
def test_there_are_as_many_msis_as_the_capability_can_send(pci_device: Target):
    """Multiple Message Capable, bits 1 to 3 of Message Control: the logarithm of the number."""
    with opened(pci_device.path, MODE) as user:
        space = user.device.config()
        offset = space.capability(config.CAPABILITY_MSI)
        assert offset, f"{pci_device.kind} has the MSI capability"
        count = 1 << (space.get(offset + 2, 2) >> 1 & 7)
        assert user.device.irq(lib.VFIO_PCI_MSI_IRQ_INDEX).count == count


@pytest.mark.promise("P8")
def test_there_are_as_many_msi_x_vectors_as_the_table_has_entries(pci_device: Target):
    """Table Size, bits 0 to 10 of Message Control: one less than the number."""
    with opened(pci_device.path, MODE) as user:
        space = user.device.config()
        offset = space.capability(config.CAPABILITY_MSIX)
        count = (space.get(offset + 2, 2) & 0x7FF) + 1 if offset else 0
        assert user.device.irq(lib.VFIO_PCI_MSIX_IRQ_INDEX).count == count
    assert bool(count) == (pci_device.kind == "e1000e")


@pytest.mark.promise("P8")
@each_kind_with("MSIX")
def test_a_pci_express_function_reports_errors_and_requests(device: Target):
    with opened(device.path, MODE) as user:
        assert user.device.irq(lib.VFIO_PCI_ERR_IRQ_INDEX).count == 1
        assert user.device.irq(lib.VFIO_PCI_REQ_IRQ_INDEX).count == 1
