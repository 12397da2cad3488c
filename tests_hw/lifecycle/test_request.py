"""This file checks that a device's owner is asked to give it up, and how the remover waits (P2)."""

import signal
import time
from pathlib import Path

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.uapi import lib
from vfio_hw.vfio.irq import armed
from vfio_hw.vfio.opened import opened

WATCHED = 0.5
PROMPT = 2.0


@pytest.mark.promise("P2")
def test_the_owner_is_asked_at_once(pci_device: Target, record_property):
    """The first request comes with the removal; the next would come 10 s later."""
    with (
        opened(pci_device.path, "vfio_type1v2_iommu") as user,
        armed(user.device, lib.VFIO_PCI_REQ_IRQ_INDEX) as [request],
    ):
        assert request.fired() == 0
        with pci_device.removal() as removal:
            request.wait(PROMPT)
            latency = time.monotonic() - removal.started_at
            assert removal.wait(WATCHED) is None
            assert request.fired() == 0, "the owner was asked more than once within a second"
            user.device.close()
            removal.must_return(PROMPT)
    record_property("request_ms", round(latency * 1000, 2))
    assert latency < 1.0


@pytest.mark.promise("P2")
def test_a_signal_does_not_end_the_wait_and_is_logged(device: Target):
    """It makes the wait uninterruptible: from then on the remover is in state D, and sleeps."""
    with opened(device.path, "vfio_type1v2_iommu") as user, device.removal() as removal:
        assert removal.wait(WATCHED) is None
        assert removal.status().state == "S"
        with Path("/dev/kmsg").open("rb", buffering=0) as log:
            log.seek(0, 2)
            removal.signal(signal.SIGTERM)
            assert removal.wait(WATCHED) is None, "the signal ended the wait"
            assert removal.status().state == "D"
            said = log.read(8192)
        assert b"Device is currently in use" in said
        assert removal.cpu_seconds() < 0.1, "the remover does not sleep"
        user.device.close()
        removal.must_return(PROMPT)
