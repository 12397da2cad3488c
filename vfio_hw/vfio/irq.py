"""Interrupts: eventfds for INTx, MSI, MSI-X, ERR and REQ; masking; loopback.

An index (VFIO_PCI_MSI_IRQ_INDEX, ...) is a kind of interrupt; ``start`` is a vector of it.
Source: linux/vfio.h, VFIO_DEVICE_SET_IRQS.
"""

import contextlib
import errno
from array import array
from collections.abc import Iterator, Sequence

from vfio_hw.errors import KernelRefused
from vfio_hw.uapi import ioctl, lib, struct
from vfio_hw.vfio.descriptor import Descriptor, errno_of
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.eventfd import EventFd

NONE: int = lib.VFIO_IRQ_SET_DATA_NONE
BOOL: int = lib.VFIO_IRQ_SET_DATA_BOOL
EVENTFD: int = lib.VFIO_IRQ_SET_DATA_EVENTFD
MASK: int = lib.VFIO_IRQ_SET_ACTION_MASK
UNMASK: int = lib.VFIO_IRQ_SET_ACTION_UNMASK
TRIGGER: int = lib.VFIO_IRQ_SET_ACTION_TRIGGER


def set_irqs(
    device: Device, index: int, flags: int, *, start: int = 0, count: int = 1, data: bytes = b""
) -> None:
    """VFIO_DEVICE_SET_IRQS, as it is.

    :param flags: one kind of data and one action.
    :raises KernelRefused: EINVAL for what the device has not or what does not fit together,
        ENOTTY for an action that the index does not know.
    """
    request = struct("vfio_irq_set", flags=flags, index=index, start=start, count=count, data=data)
    ioctl(device.fileno(), "VFIO_DEVICE_SET_IRQS", request, on=device.name)


set_irqs_errno = errno_of(set_irqs)


def arm(device: Device, index: int, eventfds: Sequence[Descriptor | None], start: int = 0) -> None:
    """Let vector ``start`` signal the first eventfd, and so on; None takes one away.

    :raises KernelRefused: as :func:`set_irqs`; EBADF or EINVAL when one is no eventfd; EINVAL while
        another of INTx, MSI and MSI-X is armed.
    """
    numbers = array("i", [-1 if each is None else each.fileno() for each in eventfds])
    data = numbers.tobytes()
    set_irqs(device, index, EVENTFD | TRIGGER, start=start, count=len(eventfds), data=data)


arm_errno = errno_of(arm)


def disarm(device: Device, index: int) -> None:
    """Take away all eventfds of the index.

    :raises KernelRefused: EINVAL when it has none.
    """
    set_irqs(device, index, NONE | TRIGGER, count=0)


disarm_errno = errno_of(disarm)


def signal(device: Device, index: int, *, start: int = 0, count: int = 1) -> None:
    """Signal the eventfds as if the device had interrupted (loopback).

    :raises KernelRefused: EINVAL when none is armed.
    """
    set_irqs(device, index, NONE | TRIGGER, start=start, count=count)


signal_errno = errno_of(signal)


def signal_where(device: Device, index: int, which: Sequence[bool], start: int = 0) -> None:
    """The same for those vectors from ``start`` on for which ``which`` is true."""
    data = bytes(which)
    set_irqs(device, index, BOOL | TRIGGER, start=start, count=len(which), data=data)


def mask(device: Device, index: int) -> None:
    """Let the index not interrupt until it is unmasked.

    :raises KernelRefused: EINVAL when it is not armed, ENOTTY when it can not be masked.
    """
    set_irqs(device, index, NONE | MASK)


mask_errno = errno_of(mask)


def unmask(device: Device, index: int) -> None:
    """Let the index interrupt again; an interrupt that is pending comes now.

    :raises KernelRefused: as :func:`mask`.
    """
    set_irqs(device, index, NONE | UNMASK)


unmask_errno = errno_of(unmask)


@contextlib.contextmanager
def armed(device: Device, index: int, count: int = 1) -> Iterator[list[EventFd]]:
    """The first ``count`` vectors of the index signal one new eventfd each inside."""
    with contextlib.ExitStack() as stack:
        eventfds = [
            stack.enter_context(EventFd(f"IRQ index {index}, vector {vector} of {device.name}"))
            for vector in range(count)
        ]
        arm(device, index, eventfds)
        try:
            yield eventfds
        finally:
            # A closed device is disarmed, and EINVAL says that the index was disarmed before.
            answer = 0 if device.closed else disarm_errno(device, index)
            if answer not in (0, errno.EINVAL):
                raise KernelRefused(answer, "VFIO_DEVICE_SET_IRQS", device.name)
