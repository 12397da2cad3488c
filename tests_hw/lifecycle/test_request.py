"""This file checks that a device's owner is asked to give it up, and how the remover waits (P2)."""

import contextlib
import signal
import time
from collections.abc import Iterator

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.fixtures.interrupts import each_kind_with
from vfio_hw.host.blocking import BlockingWrite
from vfio_hw.host.kmsg import listening
from vfio_hw.host.pci import PciFunction
from vfio_hw.uapi import lib
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.irq import armed
from vfio_hw.vfio.opened import opened

WATCHED = 0.5
PROMPT = 5.0
# Between two requests.  Source: vfio_unregister_group_dev() in drivers/vfio/vfio_main.c.
PERIOD = 10.0
# Source: vfio_pci_core_request() in drivers/vfio/pci/vfio_pci_core.c.
UNASKED, ASKED = "No device request channel registered", "Relaying device request"


@pytest.mark.promise("P2")
@each_kind_with("REQ")
def test_the_owner_is_asked_at_once(device: Target, record_property):
    """The first request comes with the removal; the next would come 10 s later."""
    with (
        opened(device.path, "vfio_type1v2_iommu") as user,
        armed(user.device, lib.VFIO_PCI_REQ_IRQ_INDEX) as [request],
    ):
        assert request.fired() == 0
        with device.removal() as removal:
            request.wait(PROMPT)
            latency = time.monotonic() - removal.started_at
            assert removal.wait(WATCHED) is None
            assert request.fired() == 0, "the owner was asked more than once within a second"
            user.device.close()
            removal.must_return(PROMPT)
    record_property("request_ms", round(latency * 1000, 2))
    assert latency < 1.0


@pytest.mark.promise("P2")
@each_kind_with("REQ")
def test_an_owner_that_can_not_be_asked_is_told_of_once(device: Target):
    """Its eventfd was taken away: the log says, once, that the removal waits until it is closed."""
    with opened(device.path, "vfio_type1v2_iommu") as user, listening() as logged:
        with armed(user.device, lib.VFIO_PCI_REQ_IRQ_INDEX):
            pass
        with device.removal() as removal:
            end = time.monotonic() + PROMPT
            said = logged()
            while UNASKED not in said and time.monotonic() < end:
                assert removal.wait(WATCHED) is None
                said += logged()
            # A signal makes the remover turn round, and ask, once more.
            removal.signal(signal.SIGTERM)
            assert removal.wait(WATCHED) is None
            again = logged()
            user.device.close()
            removal.must_return(PROMPT)
    assert said.count(UNASKED) == 1
    assert ASKED not in said + again
    assert UNASKED not in again


@pytest.mark.promise("P2")
@each_kind_with("REQ")
def test_an_owner_that_can_be_asked_is_not_told_of(device: Target):
    with (
        opened(device.path, "vfio_type1v2_iommu") as user,
        armed(user.device, lib.VFIO_PCI_REQ_IRQ_INDEX) as [request],
        listening() as logged,
        device.removal() as removal,
    ):
        request.wait(PROMPT)
        said = logged()
        user.device.close()
        removal.must_return(PROMPT)
    assert UNASKED not in said


@contextlib.contextmanager
def asked_once(function: PciFunction) -> Iterator[tuple[EventFd, BlockingWrite]]:
    """The function's owner has been asked for it once, and gives it up at the end."""
    target = Target(str(function.kind), function.address, function.path, function)
    with (
        opened(target.path, "vfio_type1v2_iommu") as user,
        armed(user.device, lib.VFIO_PCI_REQ_IRQ_INDEX) as [request],
        target.removal() as removal,
    ):
        assert request.wait(PROMPT) == 1
        yield request, removal
        user.device.close()
        removal.must_return(PROMPT)


@pytest.mark.promise("P1")
@pytest.mark.promise("P2")
def test_the_owner_is_asked_again_every_ten_seconds_signal_or_not(
    edu: PciFunction, e1000e: PciFunction, record_property
):
    """Two removals at the same time, and the one of the edu gets a signal.

    The signal makes the remover turn round once, so that the owner is asked at once; from then on
    the period is whole.
    """
    with asked_once(e1000e) as (quiet, undisturbed), asked_once(edu) as (request, removal):
        removal.signal(signal.SIGTERM)
        assert request.wait(PROMPT) == 1
        waits = [
            ("period_s", quiet, undisturbed.started_at),
            ("period_after_signal_s", request, time.monotonic()),
        ]
        for _, each, began in waits:
            early = max(0.0, began + PERIOD - 1 - time.monotonic())
            assert each.silent(early), f"{each.name}: asked again too early"
        for name, each, began in waits:
            assert each.wait(max(0.0, began + PERIOD + 1 - time.monotonic())) == 1
            record_property(name, round(time.monotonic() - began, 2))
        assert removal.blocked, "the signal ended the wait"
        assert undisturbed.blocked, "the removal did not wait for the owner"


@pytest.mark.promise("P2")
def test_a_signal_does_not_end_the_wait_and_is_logged(device: Target):
    """It makes the wait uninterruptible: from then on the remover is in state D, and sleeps."""
    with opened(device.path, "vfio_type1v2_iommu") as user, device.removal() as removal:
        assert removal.wait(WATCHED) is None
        assert removal.status().state == "S"
        with listening() as logged:
            removal.signal(signal.SIGTERM)
            assert removal.wait(WATCHED) is None, "the signal ended the wait"
            assert removal.status().state == "D"
            said = logged()
        assert "Device is currently in use" in said
        assert removal.cpu_seconds() < 0.1, "the remover does not sleep"
        user.device.close()
        removal.must_return(PROMPT)
