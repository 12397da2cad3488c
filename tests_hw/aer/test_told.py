"""This file checks that an error of a device is told to its owner, to him alone, and once (P8).

Which errors have to be recovered from, and who is asked: Documentation/PCI/pcieaer-howto.rst. The
owner is told by the eventfd of VFIO_PCI_ERR_IRQ_INDEX; linux/vfio.h. That the kernel has had the
error is seen in its counters, and that it is done with it in its uevents.
"""

import re

import pytest

from tests_hw.aer.conftest import Reporter, works
from vfio_hw.host import aer
from vfio_hw.host.aer import CORRECTABLE
from vfio_hw.host.kmsg import listening
from vfio_hw.uapi import lib
from vfio_hw.vfio import irq
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.irq import armed
from vfio_hw.vfio.opened import opened

pytestmark = pytest.mark.machine("pcie-errors")

MODES = ["vfio_type1v2_iommu", "iommufd"]
ERR, REQ = lib.VFIO_PCI_ERR_IRQ_INDEX, lib.VFIO_PCI_REQ_IRQ_INDEX
PROMPT, WATCHED = 5.0, 0.3


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", MODES)
def test_an_error_is_told_to_the_owner_once(faulty: Reporter, recoveries, severity, mode):
    """It is counted once, logged with its severity, and recovered from; nobody gives it up."""
    before = faulty.counted()
    with (
        opened(faulty.path, mode) as user,
        armed(user.device, ERR) as [error],
        armed(user.device, REQ) as [request],
        listening() as logged,
    ):
        faulty.report(severity)
        assert error.wait(PROMPT) == 1
        recoveries.must_succeed(PROMPT)
        assert error.silent(WATCHED), "told twice of one error"
        assert request.fired() == 0
        assert user.device.config().get(0, 2) == faulty.function.vendor
        said = logged()
    assert faulty.counted() == {**before, severity: before[severity] + 1}
    word = {"fatal": "Fatal", "nonfatal": "Non-Fatal"}[severity]
    assert re.search(rf"{faulty.function}: .*severity=Uncorrect\w+ \({word}\)", said), said


@pytest.mark.promise("P8")
def test_the_owner_goes_on_after_an_error_that_is_not_fatal(faulty: Reporter, recoveries):
    """Nothing was reset: its link is sound, and each error more is told."""
    with opened(faulty.path, "iommufd") as user, armed(user.device, ERR) as [error]:
        for _ in range(3):
            faulty.report("nonfatal")
            assert error.wait(PROMPT) == 1
            recoveries.must_succeed(PROMPT)
            assert works(user.device)
        user.device.reset()
        assert works(user.device)


@pytest.mark.promise("P8")
def test_an_error_that_was_corrected_is_told_to_nobody(faulty: Reporter):
    """The kernel has had it, and there is nothing to do about it."""
    before = faulty.counted()
    with (
        aer.injector(),
        opened(faulty.path, "iommufd") as user,
        armed(user.device, ERR) as [error],
        armed(user.device, REQ) as [request],
    ):
        aer.inject_correctable(faulty.function)
        faulty.must_count({**before, CORRECTABLE: before[CORRECTABLE] + 1}, PROMPT)
        assert error.silent(WATCHED)
        assert request.fired() == 0
        assert works(user.device)


@pytest.mark.promise("P8")
def test_the_owner_of_another_device_is_not_told(
    faulty: Reporter, recoveries, sound: Reporter, severity
):
    """Below the root port of the error there is one device; the other is below its own."""
    with (
        opened(faulty.path, "iommufd") as user,
        opened(sound.path, "iommufd") as neighbour,
        armed(user.device, ERR) as [error],
        armed(neighbour.device, ERR) as [other],
    ):
        faulty.report(severity)
        recoveries.must_succeed(PROMPT)
        assert error.wait(PROMPT) == 1
        assert other.silent(WATCHED)
        assert works(neighbour.device)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("how", ["disarmed", "taken away", "replaced"])
def test_an_eventfd_that_is_not_armed_any_more_is_not_signalled(
    faulty: Reporter, recoveries, severity, how
):
    with (
        opened(faulty.path, "iommufd") as user,
        armed(user.device, REQ) as [request],
        EventFd("armed before") as old,
        EventFd("armed later") as new,
    ):
        irq.arm(user.device, ERR, [old])
        if how == "disarmed":
            irq.disarm(user.device, ERR)
        else:
            irq.arm(user.device, ERR, [new if how == "replaced" else None])
        faulty.report(severity)
        recoveries.must_succeed(PROMPT)
        assert old.silent(WATCHED)
        assert new.fired() == (how == "replaced")
        assert request.fired() == 0


@pytest.mark.promise("P9")
def test_the_next_owner_is_told_and_not_the_one_before(faulty: Reporter, recoveries, severity):
    with EventFd("of the first owner") as old:
        with opened(faulty.path, "iommufd") as user:
            irq.arm(user.device, ERR, [old])
        with opened(faulty.path, "iommufd") as user, armed(user.device, ERR) as [error]:
            faulty.report(severity)
            recoveries.must_succeed(PROMPT)
            assert error.wait(PROMPT) == 1
            assert old.fired() == 0
