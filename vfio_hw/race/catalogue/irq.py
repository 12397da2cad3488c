"""Operations on the interrupts of an open device, and on ioeventfds."""

import os
from collections.abc import Callable, Sequence

from vfio_hw.race.catalogue.device import IN_USE, on_device
from vfio_hw.race.catalogue.effects import CLOSED_DEVICE, INTX_ON, IRQS_OFF, MSI_ON, REACHED, loses
from vfio_hw.race.catalogue.entry import INTERRUPTING, PCI, Legal, Operation, alone, legal
from vfio_hw.race.catalogue.region import register
from vfio_hw.race.catalogue.subject import World
from vfio_hw.race.program import Memory, Slot, Step, close, ioctl, memory, syscall
from vfio_hw.uapi import ffi, lib, struct

INTX: int = lib.VFIO_PCI_INTX_IRQ_INDEX
_ARM: int = lib.VFIO_IRQ_SET_DATA_EVENTFD | lib.VFIO_IRQ_SET_ACTION_TRIGGER
_OFF: int = lib.VFIO_IRQ_SET_DATA_NONE | lib.VFIO_IRQ_SET_ACTION_TRIGGER
_MASK: int = lib.VFIO_IRQ_SET_DATA_NONE | lib.VFIO_IRQ_SET_ACTION_MASK
_UNMASK: int = lib.VFIO_IRQ_SET_DATA_NONE | lib.VFIO_IRQ_SET_ACTION_UNMASK
_HEAD = ffi.sizeof("struct vfio_irq_set")
_Steps = Callable[[World], Sequence[Step]]


def message_index(kind: str) -> int:
    """The index by which such a device signals with messages: nvme knows MSI-X only."""
    return int(lib.VFIO_PCI_MSIX_IRQ_INDEX if kind == "nvme" else lib.VFIO_PCI_MSI_IRQ_INDEX)


def eventfd(into: Slot) -> Step:
    """A new eventfd."""
    return syscall("eventfd2", 0, os.O_CLOEXEC | os.O_NONBLOCK, into=into)


def armed(world: World, index: int, event: Slot, *, decisive: bool = False) -> Step:
    """The first vector of the index signals the eventfd."""
    head = struct("vfio_irq_set", flags=_ARM, index=index, count=1, data=bytes(4))
    request = Memory(bytes(ffi.buffer(head)), stores={_HEAD: event})
    return ioctl(world.device, "VFIO_DEVICE_SET_IRQS", request, decisive=decisive)


def acted(world: World, index: int, flags: int, count: int, *, decisive: bool = False) -> Step:
    """An action without data."""
    request = struct("vfio_irq_set", flags=flags, index=index, count=count)
    return ioctl(world.device, "VFIO_DEVICE_SET_IRQS", request, decisive=decisive)


def disarmed(world: World, index: int, *, decisive: bool = False) -> Step:
    """The index has no eventfds any more."""
    return acted(world, index, _OFF, 0, decisive=decisive)


def _arming(index: int | None) -> _Steps:
    def steps(world: World) -> Sequence[Step]:
        event, which = Slot("eventfd"), _which(world, index)
        return (
            eventfd(event),
            armed(world, which, event, decisive=True),
            disarmed(world, which),
            close(event),
        )

    return steps


def _acting(index: int | None, flags: int, count: int) -> _Steps:
    def steps(world: World) -> Sequence[Step]:
        event, which = Slot("eventfd"), _which(world, index)
        return (
            eventfd(event),
            armed(world, which, event),
            acted(world, which, flags, count, decisive=True),
            disarmed(world, which),
            close(event),
        )

    return steps


def _which(world: World, index: int | None) -> int:
    return message_index(world.subject.kind) if index is None else index


def asking_to_release(world: World) -> tuple[Step, ...]:
    """Arms the index by which the owner is asked to release the device, and disarms it."""
    event, index = Slot("eventfd"), lib.VFIO_PCI_REQ_IRQ_INDEX
    return (
        eventfd(event),
        armed(world, index, event, decisive=True),
        disarmed(world, index),
        close(event),
    )


def ioeventfd(world: World) -> tuple[Step, ...]:
    """Lets an eventfd write to a register of BAR 0, and takes that back."""
    offset, _ = register(world)
    event, width = Slot("eventfd"), lib.VFIO_DEVICE_IOEVENTFD_32
    new = struct("vfio_device_ioeventfd", flags=width, offset=offset)
    old = struct("vfio_device_ioeventfd", flags=width, offset=offset, fd=-1)
    request = memory(new, stores={"fd": event})
    return (
        eventfd(event),
        ioctl(world.device, "VFIO_DEVICE_IOEVENTFD", request, decisive=True),
        ioctl(world.device, "VFIO_DEVICE_IOEVENTFD", old),
        close(event),
    )


def _interrupts(
    name: str, steps: _Steps, other: str, does: frozenset[str], own: tuple[Legal, ...] = ()
) -> Operation:
    excluded = "one of INTx, MSI and MSI-X at a time: linux/vfio.h, VFIO_DEVICE_SET_IRQS"
    return Operation(
        name,
        IN_USE,
        steps,
        alone() + loses(CLOSED_DEVICE) + legal("EINVAL", excluded, under=other) + own,
        does,
        INTERRUPTING,
    )


_NONE_ARMED = legal(
    "EINVAL", "nothing is armed any more: the action has nothing to act on", under=IRQS_OFF
)
_MSI, _INTX = frozenset({MSI_ON, IRQS_OFF, REACHED}), frozenset({INTX_ON, IRQS_OFF})

OPERATIONS = (
    _interrupts("arm_MSI", _arming(None), INTX_ON, _MSI),
    _interrupts("disarm_MSI", _acting(None, _OFF, 0), INTX_ON, _MSI, _NONE_ARMED),
    _interrupts("trigger_MSI", _acting(None, _OFF, 1), INTX_ON, _MSI, _NONE_ARMED),
    _interrupts("arm_INTx", _arming(INTX), MSI_ON, _INTX),
    _interrupts("mask_INTx", _acting(INTX, _MASK, 1), MSI_ON, _INTX, _NONE_ARMED),
    _interrupts("unmask_INTx", _acting(INTX, _UNMASK, 1), MSI_ON, _INTX, _NONE_ARMED),
    on_device("arm_REQ", asking_to_release, kinds=PCI),
    on_device("VFIO_DEVICE_IOEVENTFD", ioeventfd, kinds=PCI),
)
