"""Taking whole IOMMU groups from their drivers: all functions of them, or none."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.host import journal
from vfio_hw.host.binding import disable_virtual_functions, rebind
from vfio_hw.host.journal import Journal
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.reading import read
from vfio_hw.host.restore import restore
from vfio_hw.host.safety import group_of
from vfio_hw.host.state import State
from vfio_hw.host.sysfs import names_in

Write = tuple[Path, str]


def with_their_groups(functions: Iterable[PciFunction]) -> list[PciFunction]:
    """These functions and all that have to leave their drivers with them, each once."""
    return list(dict.fromkeys(each for function in functions for each in group_of(function)))


def plan(functions: Sequence[PciFunction], driver: str) -> list[Write]:
    """The writes to sysfs that :func:`take` would make for these now, in their order."""
    going = taken_along(functions, driver)
    writes: list[Write] = []
    for function in functions:
        if function.driver != driver and virtual_functions(function):
            writes.append((function.path / "sriov_numvfs", "0"))
    for function in functions:
        if function in going:
            continue
        if function.driver_override != driver:
            writes.append((function.path / "driver_override", driver))
        if function.driver != driver:
            if function.driver is not None:
                writes.append((function.path / "driver" / "unbind", function.address))
            writes.append((function.bus / "drivers_probe", function.address))
    return writes


def taken_along(functions: Iterable[PciFunction], driver: str) -> set[PciFunction]:
    """The virtual functions that are there no more when :func:`take` has bound these."""
    leaving = [function for function in functions if function.driver != driver]
    return {virtual for function in leaving for virtual in function.virtual_functions()}


def take(
    state: State,
    functions: Sequence[PciFunction],
    driver: str,
    deadline: float,
    *,
    purpose: str = "bind",
    heeded: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
) -> None:
    """Bind all of them to ``driver``; when one fails, those before it are given back.

    A journal keeps what they were; the machine's lock is held by the caller. Virtual functions that
    go with their physical one are not bound.

    :param deadline: seconds for each write.
    :param purpose: of the journal.
    :param heeded: wraps the taking, and not the giving back: what may interrupt the one.
    """
    kept = Journal.begun(state, purpose)
    going = taken_along(functions, driver)
    try:
        with heeded(), journal.kept(kept):
            for function in functions:
                if function.driver != driver and virtual_functions(function):
                    disable_virtual_functions(function, deadline)
            for function in functions:
                if function not in going:
                    rebind(function, driver, deadline)
            kept.complete()
    except BaseException as error:
        kept.close()
        for outcome in restore(state, lambda found, target: found.name == kept.name):
            if outcome.word != "restored":
                error.add_note(str(outcome))
        raise
    kept.close()


def virtual_functions(function: PciFunction) -> int:
    """How many virtual functions it has now."""
    return int(read(function.path / "sriov_numvfs") or "0")


def must_exist(driver: str) -> None:
    """A PCI driver of this name is there to be bound to.

    :raises HarnessError: there is none.
    """
    if driver not in names_in(Path("/sys/bus/pci/drivers")):
        raise HarnessError(f"there is no PCI driver {driver}: load its module")
