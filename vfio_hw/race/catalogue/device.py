"""Operations on an open device: what it says of itself, reset, duplicates, its close."""

from collections.abc import Callable, Sequence

from vfio_hw.race.calls import dup
from vfio_hw.race.catalogue.effects import CLOSED_DEVICE, REACHED, RESET, loses, resets
from vfio_hw.race.catalogue.entry import INTERRUPTING, MEDIATED, RESETTABLE, Operation, alone
from vfio_hw.race.catalogue.subject import World
from vfio_hw.race.program import Slot, Step, close, ioctl
from vfio_hw.uapi import CData, lib, struct

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
        "close_device",
        (*IN_USE, "node"),
        lambda world: [close(world.device, decisive=True)],
        alone(),
        frozenset({CLOSED_DEVICE}),
    ),
)
