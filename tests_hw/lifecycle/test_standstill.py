"""This file checks that the wait for a device's owner outlives a standstill of the machine.

A guest that is migrated, or whose host saves its memory, stands still: its processors stop between
two instructions, and its timers go on later.
"""

import time

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.host.hypervisor import Hypervisor
from vfio_hw.uapi import lib
from vfio_hw.vfio.irq import armed
from vfio_hw.vfio.opened import opened

WATCHED = 0.5
PROMPT = 5.0
STANDSTILL = 2.0


@pytest.mark.promise("P1")
@pytest.mark.promise("P2")
def test_a_removal_that_waits_outlives_a_standstill(pci_device: Target, qmp: Hypervisor):
    """The owner is asked no more often for it, and the last close still ends the wait at once."""
    with (
        opened(pci_device.path, "vfio_type1v2_iommu") as user,
        armed(user.device, lib.VFIO_PCI_REQ_IRQ_INDEX) as [request],
        pci_device.removal() as removal,
    ):
        assert request.wait(PROMPT) == 1
        qmp.pause(STANDSTILL)
        qmp.wait_for("STOP", deadline=PROMPT)
        qmp.wait_for("RESUME", deadline=PROMPT)
        assert removal.wait(WATCHED) is None, "the standstill ended the wait"
        assert request.fired() == 0, "the owner was asked because of the standstill"
        closed_at = time.monotonic()
        user.device.close()
        removal.must_return(PROMPT)
        assert time.monotonic() - closed_at < 1.0, "the remover polled"
