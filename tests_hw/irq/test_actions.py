"""This file checks what each action does, or that it does nothing, with each kind of data (P8).

Source: linux/vfio.h. VFIO_DEVICE_SET_IRQS binds an action to an eventfd, whichever it is;
VFIO_IRQ_INFO_MASKABLE says that an index knows MASK and UNMASK.
"""

import contextlib
import errno

import pytest

from vfio_hw.devices.edu import ACKNOWLEDGE, RAISE
from vfio_hw.fixtures import Target
from vfio_hw.fixtures.interrupts import INDICES, each_interrupt, each_kind_with, need_interrupt
from vfio_hw.uapi import lib
from vfio_hw.vfio import irq
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.irq import BOOL, EVENTFD, MASK, NONE, TRIGGER, UNMASK, set_irqs_errno
from vfio_hw.vfio.opened import opened

MODE = "vfio_type1v2_iommu"
INTX = lib.VFIO_PCI_INTX_IRQ_INDEX
# Seconds until an interrupt must have arrived, and for which one that must not is watched for.
PROMPT = 5.0
WATCHED = 0.1
# It has no such vector or data; or no such action, which may also mean: not yet.
REFUSED = (errno.EINVAL, errno.ENOTTY)

actions = pytest.mark.parametrize("action", [MASK, UNMASK], ids=["MASK", "UNMASK"])
kinds = pytest.mark.parametrize("kind", [NONE, BOOL, EVENTFD], ids=["NONE", "BOOL", "EVENTFD"])
events = each_interrupt("ERR", "REQ")


def acted(device: Device, index: int, kind: int, action: int) -> int:
    """What the kernel answers to the action on vector 0; with a true bool, or with an eventfd."""
    with EventFd("the action's") as eventfd:
        data = {NONE: b"", BOOL: b"\1", EVENTFD: eventfd.fileno().to_bytes(4, "little")}[kind]
        return set_irqs_errno(device, index, kind | action, data=data)


@pytest.mark.promise("P8")
@each_interrupt("INTX", "MSI", "MSIX", "ERR", "REQ")
@actions
@kinds
def test_an_index_is_masked_where_it_is_maskable_and_nowhere_else(
    device: Target, index, action, kind
):
    """An index that is not MASKABLE refuses the action; one that is may refuse only an eventfd.

    Not to unmask the INTx of a PCI function, which is shared: every monitor unmasks it by one.
    After a refusal it signals as before, and else when it is unmasked again.
    """
    need_interrupt(device, index)
    insist = device.kind != "mtty" and (index, action) == (INTX, UNMASK)
    with opened(device.path, MODE) as user, irq.armed(user.device, index) as [eventfd]:
        before = user.device.irq(index)
        answer = acted(user.device, index, kind, action)
        if not before.flags & lib.VFIO_IRQ_INFO_MASKABLE:
            assert answer in REFUSED
        elif kind == EVENTFD and not insist:
            assert answer in (0, *REFUSED)
        else:
            assert answer == 0
        if not answer:
            irq.unmask(user.device, index)
        irq.signal(user.device, index)
        assert eventfd.fired() == 1
        assert user.device.irq(index) == before


@pytest.mark.promise("P8")
def test_an_eventfd_masks_intx_when_it_is_signalled_or_is_refused_and_never_does(opened_edu):
    """The header binds it to the action; a kernel that has not done that yet says so."""
    device, registers = opened_edu
    with irq.armed(device, INTX) as [eventfd], EventFd("the mask") as mask:
        data = mask.fileno().to_bytes(4, "little")
        answer = set_irqs_errno(device, INTX, EVENTFD | MASK, data=data)
        assert answer in (0, *REFUSED)
        registers.put(RAISE, 4, 1)
        assert eventfd.wait(PROMPT) == 1
        registers.put(ACKNOWLEDGE, 4, 1)
        irq.unmask(device, INTX)
        mask.signal()
        # Whoever listens to it in the kernel is to have heard it.
        assert eventfd.silent(WATCHED)
        registers.put(RAISE, 4, 1)
        if not answer:
            assert eventfd.silent(WATCHED), "INTx came while it was masked"
            irq.unmask(device, INTX)
        assert eventfd.wait(PROMPT) == 1
        registers.put(ACKNOWLEDGE, 4, 1)


@pytest.mark.promise("P8")
@each_kind_with("INTX")
@actions
def test_a_bool_masks_and_unmasks_as_none_does(device: Target, action):
    """Only while the index is armed; a false one asks for nothing, but its vector must exist."""
    with opened(device.path, MODE) as user:
        assert acted(user.device, INTX, BOOL, action) == errno.EINVAL
        with irq.armed(user.device, INTX):
            assert acted(user.device, INTX, BOOL, action) == 0
            assert set_irqs_errno(user.device, INTX, BOOL | action, data=b"\0") == 0
            answer = set_irqs_errno(user.device, INTX, BOOL | action, start=1, data=b"\0")
            assert answer == errno.EINVAL


@pytest.mark.promise("P8")
def test_only_a_true_bool_masks_and_unmasks_intx(opened_edu):
    device, registers = opened_edu
    with irq.armed(device, INTX) as [eventfd]:
        irq.set_irqs(device, INTX, BOOL | MASK, data=b"\0")
        registers.put(RAISE, 4, 1)
        assert eventfd.wait(PROMPT) == 1
        registers.put(ACKNOWLEDGE, 4, 1)
        irq.unmask(device, INTX)
        irq.set_irqs(device, INTX, BOOL | MASK, data=b"\1")
        registers.put(RAISE, 4, 1)
        assert eventfd.silent(WATCHED), "INTx came while it was masked"
        irq.set_irqs(device, INTX, BOOL | UNMASK, data=b"\0")
        assert eventfd.silent(WATCHED), "a false bool unmasked INTx"
        irq.set_irqs(device, INTX, BOOL | UNMASK, data=b"\1")
        assert eventfd.wait(PROMPT) == 1
        registers.put(ACKNOWLEDGE, 4, 1)


@pytest.mark.promise("P8")
@events
def test_a_true_bool_signals_the_event(device: Target, index):
    """And does nothing where none is armed, unlike NONE, which is refused there."""
    need_interrupt(device, index)
    with opened(device.path, MODE) as user, irq.armed(user.device, index) as [eventfd]:
        irq.signal_where(user.device, index, [False])
        assert eventfd.fired() == 0
        irq.signal_where(user.device, index, [True])
        assert eventfd.fired() == 1
        irq.disarm(user.device, index)
        irq.signal_where(user.device, index, [True])
        assert eventfd.fired() == 0


@pytest.mark.promise("P8")
@events
@pytest.mark.parametrize("kind", [BOOL, EVENTFD], ids=["BOOL", "EVENTFD"])
def test_an_event_without_data_is_refused(device: Target, index, kind):
    """Only NONE takes an event away by naming no vector at all."""
    need_interrupt(device, index)
    with opened(device.path, MODE) as user, irq.armed(user.device, index) as [eventfd]:
        assert set_irqs_errno(user.device, index, kind | TRIGGER, count=0) == errno.EINVAL
        irq.signal(user.device, index)
        assert eventfd.fired() == 1


@pytest.mark.promise("P8")
@pytest.mark.parametrize("action", [MASK, UNMASK, TRIGGER], ids=["MASK", "UNMASK", "TRIGGER"])
@kinds
def test_an_interrupt_that_a_device_has_not_takes_no_action(every_kind: Target, action, kind):
    """EINVAL for its vector 0, or ENOTTY for its index; those it has are none the worse."""
    with opened(every_kind.path, MODE) as user, contextlib.ExitStack() as stack:
        lacking = [
            index
            for index in INDICES.values()
            if user.device.irq_errno(index) or not user.device.irq(index).count
        ]
        assert bool(lacking) == (every_kind.kind != "e1000e")
        intx = [] if INTX in lacking else stack.enter_context(irq.armed(user.device, INTX))
        for index in lacking:
            answer = acted(user.device, index, kind, action)
            assert answer in REFUSED, index
        for eventfd in intx:
            irq.signal(user.device, INTX)
            assert eventfd.fired() == 1
