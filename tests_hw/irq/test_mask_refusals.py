"""This file checks what MASK and UNMASK of INTx refuse (P8), and leave masked or not (P7).

Source: linux/vfio.h, VFIO_DEVICE_SET_IRQS; vfio_virqfd_enable() for the eventfd that unmasks.
"""

import errno

import pytest

from vfio_hw.devices.edu import ACKNOWLEDGE, RAISE
from vfio_hw.fixtures import Target
from vfio_hw.fixtures.interrupts import each_kind_with
from vfio_hw.uapi import lib
from vfio_hw.vfio import irq
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.irq import BOOL, EVENTFD, MASK, NONE, UNMASK, set_irqs_errno
from vfio_hw.vfio.opened import opened

MODE = "vfio_type1v2_iommu"
INTX = lib.VFIO_PCI_INTX_IRQ_INDEX
# Seconds until an interrupt must have arrived, and for which one that must not is watched for.
PROMPT, WATCHED = 5.0, 0.1

actions = pytest.mark.parametrize("action", [MASK, UNMASK], ids=["MASK", "UNMASK"])


def data_of(eventfd: EventFd) -> bytes:
    return eventfd.fileno().to_bytes(4, "little")


def all_refused(device: Device, action: int, eventfd: EventFd) -> None:
    """The action on anything but vector 0; and on no vector, or with no kind of data."""
    for kind, data in ((NONE, b""), (BOOL, b"\1\1"), (EVENTFD, data_of(eventfd) * 2)):
        for start, count in ((0, 0), (0, 2), (1, 1), (1, 0), (2**32 - 1, 2)):
            answer = set_irqs_errno(
                device, INTX, kind | action, start=start, count=count, data=data
            )
            assert answer == errno.EINVAL, f"{kind:#x} {start:#x} {count:#x}"
    assert set_irqs_errno(device, INTX, action, data=data_of(eventfd)) == errno.EINVAL


@pytest.mark.promise("P8")
@each_kind_with("INTX")
@actions
def test_what_is_not_armed_is_not_masked(device: Target, action):
    """By no kind of data, and an eventfd is not remembered for when it is."""
    with opened(device.path, MODE) as user, EventFd("the action's") as eventfd:
        for kind, data in ((NONE, b""), (BOOL, b"\0"), (BOOL, b"\1"), (EVENTFD, data_of(eventfd))):
            answer = set_irqs_errno(user.device, INTX, kind | action, data=data)
            assert answer == errno.EINVAL, f"{kind:#x} {data!r}"
        with irq.armed(user.device, INTX) as [armed]:
            eventfd.signal()
            irq.signal(user.device, INTX)
            assert armed.fired() == 1


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
def test_a_refused_action_leaves_intx_masked_or_not_as_it_was(opened_edu, masked):
    """What the device raises comes, or does not come before it is unmasked."""
    device, registers = opened_edu
    with irq.armed(device, INTX) as [eventfd], EventFd("the action's") as other:
        if masked:
            irq.mask(device, INTX)
        all_refused(device, UNMASK if masked else MASK, other)
        registers.put(RAISE, 4, 1)
        if masked:
            assert eventfd.silent(WATCHED), "a refused request unmasked INTx"
            all_refused(device, UNMASK, other)
            other.signal()
            assert eventfd.silent(WATCHED), "a refused request unmasked INTx"
            irq.unmask(device, INTX)
        assert eventfd.wait(PROMPT) == 1
        registers.put(ACKNOWLEDGE, 4, 1)


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@pytest.mark.parametrize("bound", [False, True], ids=["unbound", "bound"])
def test_only_one_eventfd_unmasks_intx(opened_edu, bound):
    """EBADF and EINVAL for what is none, EBUSY for a second; the first one goes on unmasking.

    Without a first one what was refused has not become it: another one can.
    """
    device, registers = opened_edu
    with irq.armed(device, INTX) as [eventfd], EventFd("the unmask") as unmask:
        if bound:
            irq.set_irqs(device, INTX, EVENTFD | UNMASK, data=data_of(unmask))
        with EventFd("the second") as second:
            with EventFd() as gone:
                closed = data_of(gone)
            refusals = [
                (closed, errno.EBADF),
                (device.fileno().to_bytes(4, "little"), errno.EINVAL),
            ]
            if bound:
                refusals += [(data_of(second), errno.EBUSY), (data_of(unmask), errno.EBUSY)]
            for data, refusal in refusals * 2:
                answer = set_irqs_errno(device, INTX, EVENTFD | UNMASK, data=data)
                assert answer == refusal
            registers.put(RAISE, 4, 1)
            assert eventfd.wait(PROMPT) == 1
            second.signal()
            assert eventfd.silent(WATCHED), "a refused eventfd unmasked INTx"
        if not bound:
            irq.set_irqs(device, INTX, EVENTFD | UNMASK, data=data_of(unmask))
        unmask.signal()
        assert eventfd.wait(PROMPT) == 1
        registers.put(ACKNOWLEDGE, 4, 1)
