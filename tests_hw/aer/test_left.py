"""This file checks that an error harms nobody who is not told of it, and leaves nothing (P3, P9).

A fatal error resets the link, and with it the device: what it had in its registers is gone, and
who uses it next must have a device all the same. Source: Documentation/PCI/pci-error-recovery.rst.
"""

import errno
import time

import pytest

from tests_hw.aer.conftest import Reporter, works
from vfio_hw.fixtures import Target
from vfio_hw.uapi import lib
from vfio_hw.vfio.irq import armed
from vfio_hw.vfio.opened import opened

pytestmark = pytest.mark.machine("pcie-errors")

ERR, REQ = lib.VFIO_PCI_ERR_IRQ_INDEX, lib.VFIO_PCI_REQ_IRQ_INDEX
PROMPT, WATCHED = 5.0, 0.5
ROUNDS = 20
# PCI_CAP_ID_EXP, PCI_EXP_DEVCTL and PCI_EXP_DEVCTL_NFERE of linux/pci_regs.h.
CAPABILITY_EXPRESS, DEVICE_CONTROL, NONFATAL_REPORTED = 0x10, 8, 1 << 1


@pytest.mark.promise("P3")
@pytest.mark.promise("P9")
def test_a_device_that_nobody_has_open_is_whole_after_an_error(
    faulty: Reporter, recoveries, severity
):
    bars = faulty.bars()
    faulty.report(severity)
    recoveries.must_succeed(PROMPT)
    with opened(faulty.path, "iommufd") as user:
        faulty.must_be_whole(bars)
        assert works(user.device)


@pytest.mark.promise("P3")
@pytest.mark.promise("P9")
@pytest.mark.parametrize("is_armed", [True, False], ids=["armed", "not armed"])
def test_the_next_owner_has_a_whole_device(faulty: Reporter, recoveries, severity, is_armed):
    bars = faulty.bars()
    with opened(faulty.path, "vfio_type1v2_iommu") as user:
        if is_armed:
            with armed(user.device, ERR) as [error]:
                faulty.report(severity)
                assert error.wait(PROMPT) == 1
                recoveries.must_succeed(PROMPT)
        else:
            faulty.report(severity)
            recoveries.must_succeed(PROMPT)
    with opened(faulty.path, "vfio_type1v2_iommu") as user:
        faulty.must_be_whole(bars)
        assert works(user.device)


@pytest.mark.promise("P9")
def test_what_one_owner_does_not_want_reported_is_told_to_the_next(faulty: Reporter):
    """He may switch reports off in the function, for as long as he has it."""
    before = faulty.counted()
    with opened(faulty.path, "iommufd") as user, armed(user.device, ERR) as [error]:
        space = user.device.config()
        at = space.capability(CAPABILITY_EXPRESS)
        assert at is not None
        control = space.get(at + DEVICE_CONTROL, 2)
        assert control & NONFATAL_REPORTED, "the kernel has not asked for it"
        space.put(at + DEVICE_CONTROL, 2, control & ~NONFATAL_REPORTED)
        faulty.report("nonfatal")
        assert error.silent(WATCHED)
        assert faulty.counted() == before
    with opened(faulty.path, "iommufd") as user, armed(user.device, ERR) as [error]:
        faulty.report("nonfatal")
        assert error.wait(PROMPT) == 1


@pytest.mark.promise("P1")
@pytest.mark.promise("P2")
def test_an_error_does_not_end_the_wait_of_a_removal_nor_prolong_it(faulty: Reporter):
    """The remover holds the device, which the kernel wants for the recovery: that has to wait."""
    target = Target("virtio", faulty.function.address, faulty.path, faulty.function)
    with (
        opened(faulty.path, "iommufd") as user,
        armed(user.device, REQ) as [request],
        target.removal() as removal,
    ):
        assert request.wait(PROMPT) == 1
        faulty.report("nonfatal")
        assert removal.wait(WATCHED) is None, "the error ended the wait"
        assert request.fired() == 0, "the owner was asked for it because of the error"
        # Who resets it wants the lock, too, and does not wait for it.
        assert user.device.reset_errno() in (0, errno.EAGAIN)
        assert works(user.device)
        closed_at = time.monotonic()
        user.device.close()
        removal.must_return(PROMPT)
        assert time.monotonic() - closed_at < 1.0, "the remover waited for the recovery"


@pytest.mark.promise("P7")
@pytest.mark.promise("P9")
@pytest.mark.parametrize("use", ["close", "reset", "config"])
def test_errors_that_come_while_the_device_is_used_do_no_harm(
    faulty: Reporter, recoveries, severity, use
):
    """The kernel is at the recovery when the owner closes the device, resets it, or reads of it."""
    bars = faulty.bars()
    for _ in range(ROUNDS):
        with opened(faulty.path, "iommufd") as user, armed(user.device, ERR):
            faulty.report(severity)
            if use == "reset":
                user.device.reset_errno()
            elif use == "config":
                user.device.config().region.read(0, 256)
        recoveries.must_succeed(PROMPT)
        faulty.must_be_whole(bars)
    with opened(faulty.path, "iommufd") as user, armed(user.device, ERR) as [error]:
        assert works(user.device)
        faulty.report("nonfatal")
        assert error.wait(PROMPT) == 1
