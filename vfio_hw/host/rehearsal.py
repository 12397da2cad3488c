"""What undoing would write now, for who wants to see it first; nothing is written, or noted."""

from collections.abc import Iterator
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.host import journals
from vfio_hw.host import target as targets
from vfio_hw.host.departed import LOST, Departed
from vfio_hw.host.guard import InUse, must_be_idle, must_have_idle_ones
from vfio_hw.host.held import Held
from vfio_hw.host.journals import Found
from vfio_hw.host.pci import PciFunction, is_vfio
from vfio_hw.host.record import Record
from vfio_hw.host.rescan import AUTOPROBE, bus_of
from vfio_hw.host.state import State
from vfio_hw.host.target import Target, function_of
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

Write = tuple[Path, str]
_OVERRIDE = "driver_override"


def rehearsed(
    state: State, wanted: Wanted = lambda found, target: True
) -> Iterator[Outcome | Write]:
    """What :func:`vfio_hw.host.restore.restore` would do now, in its order.

    The machine's lock is held meanwhile, by the caller.

    :returns: the writes to sysfs; the outcome of what would be left, or fail.
    """
    rehearsal = _Rehearsal(state)
    for found in reversed(rehearsal.left):
        yield from rehearsal.of(found, wanted)


class _Rehearsal:
    """The machine as it would be by now: what was put back before has its old value."""

    def __init__(self, state: State) -> None:
        self.left = journals.left(state)
        ours = [each for each in self.left if each.boot == journals.boot()]
        models = {name: model for each in ours for name, model in each.departed.models.items()}
        self._departed = Departed(models)
        self._held = Held()
        self._put: dict[Target, str] = {}
        self._returned: set[str] = set()

    def of(self, found: Found, wanted: Wanted) -> Iterator[Outcome | Write]:
        """What would be done about one journal."""
        if found.boot != journals.boot():
            for target in (each for each, record in found.records.items() if record.ours):
                yield Outcome(target, "left", BOOTED)
            return
        chosen = [each for each in reversed(found.records) if wanted(found, each)]
        # What waits for its driver comes when that has it again: last.
        turns = {each: turn(found.records, each) for each in chosen}
        for number in (*range(LAST), None, LAST):
            for target in (each for each in chosen if turns[each] == number):
                yield from self._target(target, found, number is None)

    def _target(self, target: Target, found: Found, by_driver: bool) -> Iterator[Outcome | Write]:
        record = found.records[target]
        address = function_of(target)
        driver_goes = by_driver and Target("driver", address or "") in self._put
        if driver_goes or (address in self._returned and self._fresh(target) is None):
            yield Outcome(target, "later", f"set to {record.old!r}, unless it has that by then")
            return
        try:
            why = self._why_not(target, record)
        except HarnessError as error:
            yield Outcome(target, "failed", str(error))
            return
        if why:
            yield Outcome(target, "left", why)
        if why is not None:
            return
        if holders := self._held.target(target):
            yield Outcome(target, "failed", open_in(holders))
            return
        try:
            writes = list(self._writes(target, record.old))
        except HarnessError as error:
            theirs = isinstance(error, InUse) and found.purpose == "run"
            yield Outcome(target, "left" if theirs else "failed", str(error))
            return
        yield from writes
        self._put[target] = record.old

    def _why_not(self, target: Target, record: Record) -> str | None:
        """As not_ours(); what is not on its bus yet will have what a function has there."""
        address = function_of(target)
        if address not in self._returned:
            return not_ours(target, record, self._departed, self._value(target))
        return "" if record.old == self._put.get(target, self._fresh(target)) else None

    def _fresh(self, target: Target) -> str | None:
        """What it is of a function that has just come to its bus; None: that differs."""
        name = target.name.partition(f"/{function_of(target)}/")[2]
        return "" if target.kind == "driver" else LOST.get(name)

    def _value(self, target: Target) -> str | None:
        return self._put[target] if target in self._put else target.value()

    def _writes(self, target: Target, old: str) -> Iterator[Write]:
        path = Path(target.name)
        if target.kind == "mdev":
            if old:
                raise HarnessError(lost_with_its_state(old))
            yield targets.MDEV / target.name / "remove", "1"
        elif target.kind == "present":
            yield from self._rescan(target.name)
            self._returned.add(target.name)
        elif target.kind == "driver":
            yield from self._driver(target, old)
        elif path.name == "sriov_numvfs":
            back = path.parent.name in self._returned  # and has none of them then
            if not back:
                must_have_idle_ones(path.parent.name, claim=False)
            if not back and "0" not in (old, self._value(target)):
                yield path, "0"
            yield path, old
        else:
            yield path, old

    def _override(self, address: str) -> str:
        """By the end of its path, which can not be resolved while the function is gone."""
        own = f"/{address}/{_OVERRIDE}"
        put = [value for target, value in self._put.items() if target.name.endswith(own)]
        now = Target("attribute", str(targets.PCI / address / _OVERRIDE))
        return put[-1] if put else now.value() or ""

    def _rescan(self, address: str) -> Iterator[Write]:
        """Those of rescan_bus_of()."""
        bus, switch = bus_of(address), targets.PCI.parent / AUTOPROBE
        probes = self._value(Target("attribute", str(switch))) == "1"
        if probes:
            yield switch, "0"
        yield bus / "rescan", "1"
        if probes:
            yield switch, "1"

    def _driver(self, target: Target, old: str) -> Iterator[Write]:
        function = targets.PCI / target.name
        path, override = function / _OVERRIDE, self._override(target.name)
        driver = self._value(target)
        if driver and driver != old and not is_vfio(driver):
            must_be_idle(PciFunction.at(target.name), claim=False)
        if old and override != old:
            yield path, old
        if driver:
            yield function / "driver" / "unbind", target.name
        if old:
            yield targets.PCI.parent / "drivers_probe", target.name
            if override != old:
                yield path, override
