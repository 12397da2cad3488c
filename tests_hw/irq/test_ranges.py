"""This file checks which vectors, data and flags SET_IRQS refuses of every index (P8).

What was refused signals none and leaves each armed vector armed with its own eventfd (P7), but one
that was to have an eventfd that is none: it may be disarmed by that, as linux/vfio.h does not say
what becomes of it. Source: there, VFIO_DEVICE_SET_IRQS; vfio_set_irqs_validate_and_prepare().
"""

import contextlib
import errno
import itertools
from collections.abc import Iterator

import pytest

from vfio_hw.devices.kinds import kind as kind_of
from vfio_hw.fixtures import Target
from vfio_hw.fixtures.interrupts import INDICES, each_interrupt, need_interrupt
from vfio_hw.uapi import lib
from vfio_hw.vfio import irq
from vfio_hw.vfio.descriptor import Descriptor
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.irq import BOOL, EVENTFD, MASK, NONE, TRIGGER, UNMASK, set_irqs_errno
from vfio_hw.vfio.opened import opened

MODE = "vfio_type1v2_iommu"
ALL = 2**32 - 1
# Vectors that are armed, of a device that may have many.
SOME = 5
ACTIONS = (MASK, UNMASK, TRIGGER)
#: Those of which one at a time is armed.
EXCLUSIVE = [INDICES[name] for name in ("INTX", "MSI", "MSIX")]
#: Kinds of data, and how many bytes of it a vector takes.
SIZES = {NONE: 0, BOOL: 1, EVENTFD: 4}

every_index = each_interrupt("INTX", "MSI", "MSIX", "ERR", "REQ")


@contextlib.contextmanager
def refused(target: Target, index: int) -> Iterator[tuple[Device, EventFd]]:
    """A device whose index is armed, and an eventfd to be refused.

    Nothing was signalled after; then each vector signals its own eventfd, as before.
    """
    need_interrupt(target, index)
    with opened(target.path, MODE) as user:
        before = user.device.irq(index)
        count = min(before.count, SOME)
        with irq.armed(user.device, index, count) as eventfds, EventFd("the refused one") as other:
            yield user.device, other
            assert [each.fired() for each in (*eventfds, other)] == [0] * (count + 1)
            for vector in range(count):
                irq.signal(user.device, index, start=vector)
                assert [each.fired() for each in eventfds] == [
                    int(n == vector) for n in range(count)
                ]
            assert other.fired() == 0
            assert user.device.irq(index) == before


def data_of(kind: int, eventfd: EventFd, count: int) -> bytes:
    """Data that asks for the action on ``count`` vectors."""
    return {NONE: b"", BOOL: b"\1", EVENTFD: eventfd.fileno().to_bytes(4, "little")}[kind] * count


def beyond(count: int, indices: int) -> list[tuple[int, int]]:
    """Ranges with a vector that an index with so many has not: start and count.

    The sum of some wraps. One is empty, behind whichever number a driver may take for the index's.
    """
    return [
        (count, 1),
        (0, count + 1),
        (count - 1, 2),
        (count, count),
        (max(count, indices), 0),
        (ALL, 0),
        (ALL, 1),
        (0, ALL),
        (1, ALL),
        (ALL, ALL),
        (2**31, 2**31),
        (ALL - count, count + 1),
    ]


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@every_index
def test_vectors_that_an_index_has_not_are_refused(device: Target, index):
    """With any action and kind of data, however much of it there is.

    mtty looks at the action first, and may not know it.
    """
    with refused(device, index) as (user, eventfd):
        info, indices = user.irq(index), user.info().num_irqs
        maskable, mtty = info.flags & lib.VFIO_IRQ_INFO_MASKABLE, device.kind == "mtty"
        for action, kind in itertools.product(ACTIONS, SIZES):
            unknown = mtty and action != TRIGGER and not maskable
            legal = (errno.EINVAL, errno.ENOTTY) if unknown else (errno.EINVAL,)
            data, flags = data_of(kind, eventfd, info.count + 1), kind | action
            for start, count in beyond(info.count, indices):
                answer = set_irqs_errno(user, index, flags, start=start, count=count, data=data)
                assert answer in legal, f"{flags:#x} {start:#x} {count:#x}"


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@every_index
def test_data_for_less_than_all_vectors_is_refused(device: Target, index):
    """A byte of the last vector's is missing, all of the last, or all there is."""
    with refused(device, index) as (user, eventfd):
        counts = (1, user.irq(index).count)
        for action, kind, count in itertools.product(ACTIONS, (BOOL, EVENTFD), counts):
            whole, flags = data_of(kind, eventfd, count), kind | action
            for length in (len(whole) - 1, len(whole) - SIZES[kind], 0):
                answer = set_irqs_errno(user, index, flags, count=count, data=whole[:length])
                assert answer == errno.EINVAL, f"{flags:#x} {count} {length}"


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@every_index
def test_flags_name_exactly_one_kind_of_data(device: Target, index):
    """And none that does not exist."""
    several = (NONE | BOOL, NONE | EVENTFD, BOOL | EVENTFD, NONE | BOOL | EVENTFD)
    unknown = (NONE | 1 << 6, EVENTFD | 1 << 31)
    with refused(device, index) as (user, eventfd):
        data = data_of(EVENTFD, eventfd, 1)
        for action, kinds in itertools.product(ACTIONS, (0, *several, *unknown)):
            answer = set_irqs_errno(user, index, kinds | action, data=data)
            assert answer == errno.EINVAL, f"{kinds | action:#x}"


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@every_index
def test_flags_name_exactly_one_action(device: Target, index):
    """mtty may answer with success, as linux/vfio.h has no errno for it, but does nothing."""
    legal = (errno.ENOTTY, 0) if device.kind == "mtty" else (errno.ENOTTY,)
    with refused(device, index) as (user, eventfd):
        for kind, action in itertools.product(
            SIZES, (0, MASK | UNMASK, MASK | TRIGGER, UNMASK | TRIGGER, MASK | UNMASK | TRIGGER)
        ):
            data = data_of(kind, eventfd, 1)
            answer = set_irqs_errno(user, index, kind | action, data=data)
            assert answer in legal, f"{kind:#x} {action:#x}"


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@each_interrupt("INTX", "ERR", "REQ", kinds=("edu", "e1000e", "nvme"))
def test_what_is_armed_stays_so_when_another_eventfd_is_refused(device: Target, index):
    """vfio-pci looks at the new one first; MSI, MSI-X and mtty are in the test after this one."""
    with refused(device, index) as (user, _):
        for number, answer in no_eventfds(user):
            assert irq.arm_errno(user, index, [number]) == answer


def no_eventfds(user: Device) -> list[tuple[Descriptor, int]]:
    """A descriptor that is closed, and one of something else; what the kernel says to each."""
    with EventFd() as eventfd:
        closed = Descriptor(eventfd.fileno(), "closed")
    return [(closed, errno.EBADF), (user, errno.EINVAL)]


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@every_index
def test_a_vector_whose_eventfd_is_refused_has_its_own_or_none_and_takes_the_next(
    device: Target, index
):
    """The old one of MSI, MSI-X and mtty goes before the new one is looked at: it is disarmed then.

    The vectors beside it stay armed. What it has is not signalled by the refusal.
    Source: vfio_msi_set_vector_signal(), mtty_set_irqs().
    """
    need_interrupt(device, index)
    with opened(device.path, MODE) as opening:
        user = opening.device
        before = user.irq(index)
        count = min(before.count, SOME)
        last = count - 1
        with irq.armed(user, index, count) as eventfds:
            for number, answer in no_eventfds(user):
                assert irq.arm_errno(user, index, [number], start=last) == answer
                assert [each.fired() for each in eventfds] == [0] * count
                for vector in range(last):
                    irq.signal(user, index, start=vector)
                    assert [each.fired() for each in eventfds] == [
                        int(n == vector) for n in range(count)
                    ]
                told = irq.signal_errno(user, index, start=last)
                assert told in (0, errno.EINVAL)
                *others, own = [each.fired() for each in eventfds]
                assert others == [0] * last
                assert own in ((0,) if told else (0, 1))
                irq.arm(user, index, [eventfds[last]], start=last)
                irq.signal(user, index, start=last)
                assert [each.fired() for each in eventfds] == [0] * last + [1]
            assert user.irq(index) == before


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@each_interrupt("INTX", "MSI", "MSIX")
def test_an_interrupt_is_not_triggered_while_another_is_armed(device: Target, index):
    """Nor is the other one disarmed, or replaced, in the name of this one."""
    has = kind_of(device.kind).interrupts
    others = [each for each in EXCLUSIVE if each in has and each != index]
    assert others
    for armed in others:
        with refused(device, armed) as (user, eventfd):
            for kind in SIZES:
                data = data_of(kind, eventfd, 1)
                answer = set_irqs_errno(user, index, kind | TRIGGER, data=data)
                assert answer == errno.EINVAL, f"{armed} {kind:#x}"
            assert irq.disarm_errno(user, index) == errno.EINVAL, armed
