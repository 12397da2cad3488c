"""Undoes what a journal says was changed and not put back; any number of times, also cut short.

Only what is still as we left it is put back: what somebody else has changed since is theirs, a
device that left its bus and came back is not the one that was changed, unless it left because of
us, and after a reboot nothing of a change is left.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from vfio_hw.errors import HarnessError, KernelSplat
from vfio_hw.host import journal, journals
from vfio_hw.host.binding import FOR_EACH_VIRTUAL, rebind, with_override
from vfio_hw.host.blocking import write_with_deadline
from vfio_hw.host.departed import Departed
from vfio_hw.host.guard import InUse, must_be_idle, must_have_idle_ones
from vfio_hw.host.held import Held
from vfio_hw.host.journal import Journal
from vfio_hw.host.journals import Found
from vfio_hw.host.openers import Opening
from vfio_hw.host.pci import PciFunction, is_vfio
from vfio_hw.host.reading import read
from vfio_hw.host.rescan import rescan_bus_of
from vfio_hw.host.state import State
from vfio_hw.host.target import Target, alike, function_of
from vfio_hw.host.undoable import (
    BOOTED,
    LAST,
    Outcome,
    Wanted,
    lost_with_its_state,
    not_ours,
    open_in,
    turn,
)

_DEADLINE = 20.0


def restore(state: State, wanted: Wanted = lambda found, target: True) -> Iterator[Outcome]:
    """Undo what is left of every journal, the youngest change first; tells of each as it is done.

    The machine's lock is held meanwhile, by the caller.

    :param wanted: which targets of which journals.
    """
    for found in reversed(_all_told(state)):
        if found.boot != journals.boot():
            for target in (each for each, record in found.records.items() if record.ours):
                yield Outcome(target, "left", BOOTED)
            state.remove(found.name)
            continue
        opened = Journal.taken_up(state, found)
        try:
            with journal.kept(opened):
                yield from _undone(opened, found, wanted)
        finally:
            opened.close()


def _all_told(state: State) -> list[Found]:
    """Every journal, after each was told what others know of functions that left because of us.

    Those others may be gone when it comes to be restored from.
    """
    left = journals.left(state)
    departed = Departed()
    for found in left:
        departed.models |= found.departed.models if found.boot == journals.boot() else {}
    if not departed.models:
        return left
    for found in left:
        if found.boot == journals.boot() and found.records:
            opened = Journal.taken_up(state, found)
            try:
                opened.learn(departed)
            finally:
                opened.close()
    return journals.left(state)


def _undone(opened: Journal, found: Found, wanted: Wanted) -> Iterator[Outcome]:
    # Who is killed from here on has left what is half undone, and is to be undone whole.
    opened.unwant(target for target in opened.records if wanted(found, target))
    for number in range(LAST + 1):
        turns = {each: turn(opened.records, each) for each in reversed(opened.records)}
        targets = [each for each in turns if turns[each] == number and wanted(found, each)]
        yield from _each_undone(opened, found, targets)


def _each_undone(opened: Journal, found: Found, targets: Sequence[Target]) -> Iterator[Outcome]:
    ours: dict[Target, str | None] = {}
    # What was noted last goes first. All are judged before any is touched: to give a driver back
    # its override is set for a moment.
    for target in targets:
        try:
            value = target.value()
            mine, why = _judged(opened, target, value)
        except HarnessError as error:
            mine, why = False, ""
            yield Outcome(target, "failed", _why(error, []))
        if mine:
            ours[target] = value
        elif why:
            yield Outcome(target, "left", why)
    held = Held()
    while ours:
        target = next(iter(ours))
        # Nothing of a device that is open is touched: the kernel would wait for who has it.
        if holders := held.target(target):
            yield Outcome(target, "failed", open_in(holders))
            del ours[target]
            continue
        try:
            yield from _taken_over(opened, ours, target)
            if target not in ours:
                continue
            value = ours.pop(target)
            old = opened.records[target].old
            _put_back(target, old)
            now = target.value()
            if now is None or not alike(now, old):
                raise HarnessError(f"it is {now!r} after {old!r} was put back: see the kernel log")
        except (HarnessError, OSError) as error:
            ours.pop(target, None)
            # What a test took from VFIO, and somebody has begun to use there, stays there.
            theirs = isinstance(error, InUse) and found.purpose == "run"
            if theirs:
                opened.settle(target)
            held = Held()  # anew: somebody may have opened the device since
            yield Outcome(target, "left" if theirs else "failed", _why(error, held.target(target)))
            continue
        # Putting it back was noted, too, and may have settled it.
        if target in opened.records:
            opened.settle(target)
        yield Outcome(target, "restored", f"{value!r} -> {old!r}")


def _judged(opened: Journal, target: Target, value: str | None) -> tuple[bool, str]:
    """Whether it is ours to put back, with this value; why it is not, and then it is settled."""
    why = not_ours(target, opened.records[target], opened.departed, value)
    if why is not None:
        opened.settle(target)
    return why is None, why or ""


def _taken_over(
    opened: Journal, ours: dict[Target, str | None], target: Target
) -> Iterator[Outcome]:
    """Of this one, and what else is of its function, what somebody has set since it was judged.

    Before any of it is touched: a driver is given back by way of its function's override.
    """
    function = function_of(target)
    its = [each for each in ours if each == target or (function and function_of(each) == function)]
    for each in its:
        if each not in opened.records:  # it has its old value by what was put back before
            del ours[each]
            continue
        if (value := each.value()) == ours[each]:
            continue
        mine, why = _judged(opened, each, value)
        if mine:
            ours[each] = value
            continue
        del ours[each]
        if why:
            yield Outcome(each, "left", why)


def _why(error: Exception, holders: Sequence[Opening]) -> str:
    """In one line; and who has the device open, when the kernel waits for them."""
    text = str(error).partition("\n")[0]
    return f"{text}; {open_in(holders)}" if holders and isinstance(error, KernelSplat) else text


def _put_back(target: Target, old: str) -> None:
    if target.kind == "mdev":
        if old:
            raise HarnessError(lost_with_its_state(old))
        write_with_deadline(Path("/sys/bus/mdev/devices") / target.name / "remove", "1", _DEADLINE)
    elif target.kind == "present":
        rescan_bus_of(target.name, _DEADLINE)
    elif target.kind == "driver":
        _driver(PciFunction.at(target.name), old or None)
    else:
        _attribute(Path(target.name), old)


def _driver(function: PciFunction, driver: str | None) -> None:
    """Its old driver has it, and its override is as it is now."""
    override = function.driver_override
    if function.driver not in (None, driver) and not is_vfio(function.driver or ""):
        must_be_idle(function)
    with with_override(function, override, _DEADLINE):
        rebind(function, driver, _DEADLINE)


def _attribute(path: Path, old: str) -> None:
    deadline = _DEADLINE
    if path.name == "sriov_numvfs":
        must_have_idle_ones(path.parent.name)
        deadline += int(old) * FOR_EACH_VIRTUAL
        if old != "0" and read(path) != "0":
            # From one number to another the kernel goes by none only.
            write_with_deadline(path, "0", deadline)
    write_with_deadline(path, f"{old}\n", deadline)
