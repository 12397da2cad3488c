"""The journals that there are, and what each of them says: see journal.py."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vfio_hw.errors import HarnessError
from vfio_hw.host.departed import Departed
from vfio_hw.host.record import Record
from vfio_hw.host.state import State
from vfio_hw.host.target import Target

ENDING = ".journal"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def boot() -> str:
    """Differs from boot to boot."""
    return _BOOT.read_text().strip()


@dataclass(frozen=True)
class Found:
    """A journal that somebody left: its name, purpose and boot, and what is open in it.

    ``size`` is that of its whole lines, in bytes.
    """

    name: str
    purpose: str
    boot: str
    pid: int
    size: int
    records: dict[Target, Record]
    complete: bool
    departed: Departed = field(default_factory=Departed)

    def stays(self, target: Target) -> bool:
        """It is not left over: somebody wants it so, and all that belongs to it was done."""
        return self.purpose == "bind" and self.complete and not self.records[target].unwanted


def found(state: State, name: str) -> Found:
    """Read a journal, whose last line may have been cut off by a crash, before its change.

    :raises HarnessError: it is damaged.
    """
    whole = state.text(name) or ""
    # What has no newline was never synced, so what it speaks of was never made.
    lines = whole.split("\n")[:-1]
    records: dict[Target, Record] = {}
    head: dict[str, Any] = {}
    departed = Departed()
    size = 0
    for number, line in enumerate(lines, 1):
        try:
            if not departed.replay(known := json.loads(line), records):
                _replay(known, head, records)
        except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
            if number == len(lines):
                break
            raise HarnessError(
                f"line {number} of the journal {state.path / name} is damaged: read it, put back by"
                " hand what it says, and remove it"
            ) from None
        size += len(line) + 1
    return Found(
        name,
        str(head.get("purpose", "run")),
        str(head.get("boot", "")),
        int(head.get("pid", 0)),
        size,
        records,
        bool(head.get("complete")),
        departed,
    )


def left(state: State) -> list[Found]:
    """Every journal there is, the oldest first."""
    return [found(state, name) for name in state.names(ENDING)]


def _replay(line: dict[str, Any], head: dict[str, Any], records: dict[Target, Record]) -> None:
    if "boot" in line or "complete" in line:
        head.update(line)
        return
    if line.keys() == {"unwanted"}:
        for kind, name in line["unwanted"]:
            records[Target(str(kind), str(name))].unwanted = True
        return
    word = next(word for word in ("note", "made", "failed", "settled") if word in line)
    kind, name = line[word]
    target = Target(str(kind), str(name))
    if word == "note":
        record = Record(str(line["old"]), str(line["identity"]))
        if target in records and records[target].identity != record.identity:
            del records[target]
        record = records.setdefault(target, record)
        record.pending.append(str(line["new"]))
        record.unwanted |= "unwanted" in line
    elif word == "settled":
        records.pop(target, None)
    elif word == "failed":
        pending = records[target].pending
        if str(line["new"]) in pending:
            pending.remove(str(line["new"]))
    else:
        record, value = records[target], line["value"]
        record.made = None if value is None else str(value)
        asynchronous = target.kind == "driver" and value != line["new"]
        record.pending = [str(line["new"])] if asynchronous else []
