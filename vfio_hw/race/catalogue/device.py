"""Operations on an open device: what it says of itself, reset, duplicates, its close."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from vfio_hw.race.calls import dup, receive_descriptor, send_descriptor, socketpair
from vfio_hw.race.catalogue.effects import CLOSED_DEVICE, REACHED, RESET, loses, resets
from vfio_hw.race.catalogue.entry import INTERRUPTING, MEDIATED, RESETTABLE, Operation, alone, legal
from vfio_hw.race.catalogue.subject import DEVICE_SLOT, World
from vfio_hw.race.program import Slot, Step, close, ioctl
from vfio_hw.uapi import CData, lib, struct

#: What the slot is called of a device that came through a socket.
PASSED = f"{DEVICE_SLOT} that was passed"
#: How long a message is kept: long enough for others to come upon it.
HOLD_NS = 200_000
#: The scenes in which the device is open, ready for use.
IN_USE = ("legacy", "cdev", "guest_open")


def asked(request: str, kind: str, **members: int) -> Callable[[World], tuple[Step, ...]]:
    """One question to the device, with a struct of that kind."""

    def steps(world: World) -> tuple[Step, ...]:
        return (ioctl(world.device, request, struct(kind, **members), decisive=True),)

    return steps


def on_device(
    name: str,
    steps: Callable[[World], Sequence[Step]],
    *,
    kinds: tuple[str, ...],
    scenes: tuple[str, ...] = IN_USE,
    does: frozenset[str] = frozenset(),
) -> Operation:
    """An operation of one decisive call on the device's descriptor, which nothing else disturbs."""
    return Operation(name, scenes, steps, alone() + loses(CLOSED_DEVICE), does, kinds)


def duplicated(world: World) -> tuple[Step, ...]:
    """Duplicates the descriptor, asks the device through it, closes it."""
    copy = Slot("duplicate")
    info: CData = struct("vfio_device_info")
    return (
        dup(world.device, copy, label="dup", decisive=True),
        ioctl(copy, "VFIO_DEVICE_GET_INFO", info),
        close(copy),
    )


def passed(world: World) -> tuple[Step, ...]:
    """Sends the descriptor through a socket and closes it: the device is open in a message alone.

    Then receives it, asks the device through it, closes it.
    """
    ends = Slot("sender's socket"), Slot("receiver's socket")
    copy, sent = Slot(PASSED), Slot("sent", descriptor=False)
    info: CData = struct("vfio_device_info")
    received = receive_descriptor(ends[1], copy, delay_ns=HOLD_NS, decisive=True)
    return (
        socketpair(*ends),
        send_descriptor(ends[0], world.device, into=sent, decisive=True),
        close(world.device),
        # There is no such argument: without it nothing was sent, and the call is skipped.
        replace(received, arguments=(*received.arguments, sent)),
        ioctl(copy, "VFIO_DEVICE_GET_INFO", info),
        close(copy),
        close(ends[0]),
        close(ends[1]),
    )


def reset(world: World) -> tuple[Step, ...]:
    """VFIO_DEVICE_RESET."""
    return (ioctl(world.device, "VFIO_DEVICE_RESET", decisive=True),)


_ALL = (*MEDIATED, "edu", "e1000e", "nvme")

OPERATIONS = (
    on_device(
        "VFIO_DEVICE_GET_INFO", asked("VFIO_DEVICE_GET_INFO", "vfio_device_info"), kinds=_ALL
    ),
    on_device(
        "VFIO_DEVICE_GET_REGION_INFO",
        asked("VFIO_DEVICE_GET_REGION_INFO", "vfio_region_info", index=0),
        kinds=_ALL,
    ),
    on_device(
        "VFIO_DEVICE_GET_IRQ_INFO",
        asked("VFIO_DEVICE_GET_IRQ_INFO", "vfio_irq_info", index=lib.VFIO_PCI_INTX_IRQ_INDEX),
        kinds=INTERRUPTING,
    ),
    Operation(
        "VFIO_DEVICE_RESET",
        IN_USE,
        reset,
        alone() + loses(CLOSED_DEVICE) + resets(),
        frozenset({RESET, REACHED}),
        (*MEDIATED, *RESETTABLE),
    ),
    on_device("dup_device", duplicated, kinds=_ALL),
    Operation(
        "pass_device",
        IN_USE,
        passed,
        alone("ok+ok")
        + legal(
            "EBADF+skipped skipped+skipped",
            "a descriptor is EBADF, and its slot empty, once another thread's close(2) has begun",
            under=CLOSED_DEVICE,
        ),
    ),
    Operation(
        "close_device",
        (*IN_USE, "node"),
        lambda world: [close(world.device, decisive=True)],
        alone(),
        frozenset({CLOSED_DEVICE}),
    ),
)
