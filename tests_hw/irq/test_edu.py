"""This file checks that interrupts which an edu really raises arrive at their eventfd (P8)."""

import pytest

from vfio_hw.devices.edu import ACKNOWLEDGE, RAISE, STATUS
from vfio_hw.uapi import lib
from vfio_hw.vfio import irq

INTX = lib.VFIO_PCI_INTX_IRQ_INDEX
MSI = lib.VFIO_PCI_MSI_IRQ_INDEX
BIT = 1 << 4
# Seconds until an interrupt must have arrived, and for which one that must not is watched for.
PROMPT = 5.0
WATCHED = 0.1


@pytest.mark.promise("P8")
def test_intx_arrives_and_masks_itself_until_it_is_unmasked(opened_edu):
    """It is a level: unmasked while the device still asserts it, it comes again."""
    device, registers = opened_edu
    with irq.armed(device, INTX) as [eventfd]:
        registers.put(RAISE, 4, BIT)
        assert eventfd.wait(PROMPT) == 1
        assert registers.get(STATUS, 4) == BIT
        assert eventfd.silent(WATCHED), "INTx did not mask itself"
        irq.unmask(device, INTX)
        assert eventfd.wait(PROMPT) == 1
        registers.put(ACKNOWLEDGE, 4, BIT)
        irq.unmask(device, INTX)
        assert eventfd.silent(WATCHED), "INTx came without being asserted"
        registers.put(RAISE, 4, BIT)
        assert eventfd.wait(PROMPT) == 1


@pytest.mark.promise("P8")
def test_masked_intx_waits_for_the_unmask(opened_edu):
    device, registers = opened_edu
    with irq.armed(device, INTX) as [eventfd]:
        irq.mask(device, INTX)
        registers.put(RAISE, 4, BIT)
        assert eventfd.silent(WATCHED), "INTx came while it was masked"
        irq.unmask(device, INTX)
        assert eventfd.wait(PROMPT) == 1


@pytest.mark.promise("P8")
def test_each_msi_arrives_once_and_needs_no_unmask(opened_edu):
    """MSI is a write to memory, which the device may do only as a bus master."""
    device, registers = opened_edu
    device.config().enable_master()
    with irq.armed(device, MSI) as [eventfd]:
        for _ in range(3):
            registers.put(RAISE, 4, BIT)
            assert eventfd.wait(PROMPT) == 1
            registers.put(ACKNOWLEDGE, 4, BIT)
        assert eventfd.silent(WATCHED), "MSI came without being raised"


@pytest.mark.promise("P8")
@pytest.mark.parametrize("index", [INTX, MSI], ids=["INTX", "MSI"])
def test_a_disarmed_interrupt_does_not_arrive(opened_edu, index):
    device, registers = opened_edu
    device.config().enable_master()
    with irq.armed(device, index) as [eventfd]:
        irq.disarm(device, index)
        registers.put(RAISE, 4, BIT)
        assert registers.get(STATUS, 4) == BIT
        assert eventfd.silent(WATCHED)
