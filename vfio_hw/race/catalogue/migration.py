"""Operations on the migration state of a device, and on the logging of its DMA."""

from collections.abc import Callable, Sequence

from vfio_hw.race.catalogue.device import IN_USE
from vfio_hw.race.catalogue.effects import CLOSED_DEVICE, MIGRATES, RESET, loses
from vfio_hw.race.catalogue.entry import Legal, Operation, alone, legal
from vfio_hw.race.catalogue.feature import GET, SET, feature
from vfio_hw.race.catalogue.subject import World
from vfio_hw.race.program import Memory, Slot, Step, close, ioctl, memory, read
from vfio_hw.uapi import ffi, lib, struct
from vfio_hw.vfio.dma import PAGE

_STATE: int = lib.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE
_FEATURE = ffi.sizeof("struct vfio_device_feature")
_FD = _FEATURE + ffi.offsetof("struct vfio_device_feature_mig_state", "data_fd")
_MIGRATABLE = ("mtty",)


def into_state(
    device: Slot, name: str, session: Slot | None = None, *, decisive: bool = False
) -> Step:
    """Brings the device into the state of that name; the slot gets the session that begins."""
    new = getattr(lib, f"VFIO_DEVICE_STATE_{name}")
    data = struct("vfio_device_feature_mig_state", device_state=new, data_fd=-1)
    head = struct("vfio_device_feature", flags=_STATE | SET, data=bytes(ffi.buffer(data)))
    loads = {} if session is None else {_FD: session}
    request = Memory(bytes(ffi.buffer(head)), loads=loads)
    return ioctl(device, "VFIO_DEVICE_FEATURE", request, label=f"into {name}", decisive=decisive)


def _through(*states: str) -> Callable[[World], Sequence[Step]]:
    """Into each state in turn, decisively into the first, from RUNNING and back to it."""

    def steps(world: World) -> Sequence[Step]:
        session = Slot("session") if states[0] in _WITH_SESSION else None
        first = into_state(world.device, states[0], session, decisive=True)
        rest = [into_state(world.device, state) for state in states[1:]]
        ends = (*([close(session)] if session else []), _running(world))
        return (_running(world), first, *rest, *ends)

    return steps


def _running(world: World) -> Step:
    # From RESUMING there is no other way back before the session has its data.
    return ioctl(world.device, "VFIO_DEVICE_RESET")


_WITH_SESSION = ("STOP_COPY", "PRE_COPY", "RESUMING")


def _answered(number: int, size: int) -> Callable[[World], Sequence[Step]]:
    def steps(world: World) -> Sequence[Step]:
        return (feature(world.device, number | GET, bytes(size), decisive=True),)

    return steps


def saved(world: World) -> Sequence[Step]:
    """Reads what a stopped device has to say."""
    session = Slot("session")
    return (
        _running(world),
        into_state(world.device, "STOP_COPY", session),
        read(session, 64, decisive=True),
        close(session),
        _running(world),
    )


def logged(world: World) -> Sequence[Step]:
    """Begins to log DMA, and ends that."""
    return _start(world, decisive=True), _stop(world)


def reported(world: World) -> Sequence[Step]:
    """Asks what was logged."""
    request = struct(
        "vfio_device_feature_dma_logging_report",
        iova=PAGE,
        length=PAGE,
        page_size=PAGE,
    )
    flags = lib.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT | GET
    data = memory(request, pointers={"bitmap": world.scratch})
    return _start(world), feature(world.device, flags, data, decisive=True), _stop(world)


def unlogged(world: World) -> Sequence[Step]:
    """Ends the logging."""
    return _start(world), _stop(world, decisive=True)


def _start(world: World, *, decisive: bool = False) -> Step:
    control = struct(
        "vfio_device_feature_dma_logging_control",
        page_size=PAGE,
        num_ranges=1,
    )
    flags = lib.VFIO_DEVICE_FEATURE_DMA_LOGGING_START | SET
    data = memory(control, pointers={"ranges": world.range})
    return feature(world.device, flags, data, decisive=decisive)


def _stop(world: World, *, decisive: bool = False) -> Step:
    return feature(world.device, lib.VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP | SET, decisive=decisive)


def _migrating(
    name: str,
    steps: Callable[[World], Sequence[Step]],
    *under: tuple[Legal, ...],
    does: str = MIGRATES,
) -> Operation:
    outcomes = sum(under, alone() + loses(CLOSED_DEVICE))
    return Operation(name, IN_USE, steps, outcomes, frozenset({does}), _MIGRATABLE)


_NO_ARC = "linux/vfio.h, vfio_device_mig_state: from where the other thread brought it"
_ENDED = "the other thread, or its reset, has ended the session: linux/vfio.h, data_fd"

OPERATIONS = (
    _migrating("mig_STOP", _through("STOP"), legal("EINVAL", _NO_ARC, under=MIGRATES)),
    _migrating("mig_STOP_COPY", _through("STOP_COPY"), legal("EINVAL", _NO_ARC, under=MIGRATES)),
    _migrating("mig_PRE_COPY", _through("PRE_COPY"), legal("EINVAL", _NO_ARC, under=MIGRATES)),
    _migrating("mig_RESUMING", _through("RESUMING"), legal("EINVAL", _NO_ARC, under=MIGRATES)),
    _migrating("mig_read", saved, legal("ENODEV skipped", _ENDED, under=(MIGRATES, RESET))),
    _migrating("mig_get_state", _answered(_STATE, 8), does=""),
    _migrating("mig_data_size", _answered(lib.VFIO_DEVICE_FEATURE_MIG_DATA_SIZE, 8), does=""),
    # mtty refuses none of them, whether it logs or not: docs/finds/mtty-logs-without-a-start.md.
    _migrating("DMA_LOGGING_START", logged, does=""),
    _migrating("DMA_LOGGING_REPORT", reported, does=""),
    _migrating("DMA_LOGGING_STOP", unlogged, does=""),
)
