"""This file checks that the wait for a device's owner outlives an NMI.

The button for it is on the machine, and comes in between wherever the kernel is; with nobody to
say that it was his, the kernel tells of it in its log and goes on.
"""

import re
import time
from pathlib import Path

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.host.hypervisor import Hypervisor
from vfio_hw.uapi import lib
from vfio_hw.vfio.irq import armed
from vfio_hw.vfio.opened import opened

WATCHED = 0.5
PROMPT = 5.0
OFTEN = 5


def taken() -> int:
    """How many the processors have taken so far."""
    found = re.search(r"^ *NMI: ([\d ]+)", Path("/proc/interrupts").read_text(), re.MULTILINE)
    assert found
    return sum(map(int, found[1].split()))


@pytest.mark.promise("P1")
@pytest.mark.promise("P2")
def test_a_removal_that_waits_outlives_an_nmi(pci_device: Target, qmp: Hypervisor, record_property):
    """The owner is asked no more often for it, and the last close still ends the wait at once."""
    with (
        opened(pci_device.path, "vfio_type1v2_iommu") as user,
        armed(user.device, lib.VFIO_PCI_REQ_IRQ_INDEX) as [request],
        pci_device.removal() as removal,
    ):
        assert request.wait(PROMPT) == 1
        for _ in range(OFTEN):
            before, end = taken(), time.monotonic() + PROMPT
            answer = qmp.ask("inject-nmi")
            while taken() == before:
                assert time.monotonic() < end, "no NMI came"
        record_property("answer_ms", round((answer.answered_at - answer.asked_at) * 1000, 2))
        assert removal.wait(WATCHED) is None, "the NMI ended the wait"
        assert request.fired() == 0, "the owner was asked because of the NMI"
        closed_at = time.monotonic()
        user.device.close()
        removal.must_return(PROMPT)
        assert time.monotonic() - closed_at < 1.0, "the remover polled"
