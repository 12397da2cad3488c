"""What was changed on this machine, on disk before it is changed; so that it can be undone.

A journal is a file of one JSON object a line: first whose it is and of which boot, then for every
write to sysfs what it is about to change (``note``, synced before the write is made), how that
ended (``made``, ``failed``), and that it is again as it was (``settled``); and of what is to stay,
that all of it was made (``complete``), and what of it is wanted no more (``unwanted``), which of
what is set only so that something can be undone its own line says. What it says of functions that
leave their bus is in departed.py, how it is read in journals.py.
"""

import contextlib
import errno
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vfio_hw.host import sysfs
from vfio_hw.host.departed import Departed
from vfio_hw.host.journals import ENDING, Found, boot
from vfio_hw.host.record import Record
from vfio_hw.host.state import State, write_all
from vfio_hw.host.target import Target, target_of


class Journal:
    """An open journal, written by this process."""

    def __init__(
        self, state: State, name: str, records: dict[Target, Record], departed: Departed
    ) -> None:
        self.state, self.name, self.records, self.departed = state, name, records, departed
        self._fd = state.open(name, os.O_WRONLY | os.O_APPEND)
        self._undoing = False

    @classmethod
    def taken_up(cls, state: State, left: Found) -> "Journal":
        """One that somebody left, to go on with; what was cut off at its end is no part of it."""
        journal = cls(state, left.name, left.records, left.departed)
        journal._undoing = True
        os.ftruncate(journal._fd, left.size)
        return journal

    @classmethod
    def begun(cls, state: State, purpose: str) -> "Journal":
        """A new one.

        :param purpose: ``run``, whose changes are to be undone when it ends; ``bind``, whose
            changes are to stay until somebody undoes them, once it is :meth:`complete`.
        """
        # Their order is that of their numbers, whatever becomes of the clock.
        numbers = [int(each.partition("-")[0]) for each in state.names(ENDING)]
        name = f"{max(numbers, default=0) + 1:08d}-{os.getpid()}{ENDING}"
        os.close(state.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        journal = cls(state, name, {}, Departed())
        journal._append({"boot": boot(), "pid": os.getpid(), "purpose": purpose}, sync=True)
        state.sync()
        return journal

    def note(self, target: Target, new: str) -> None:
        """The target is about to get a new value; on disk when this returns."""
        if target.kind == "present":
            self._append_all(map(self._meant, self.departed.leaving(target.name, self.records)))
        if target.kind == "driver":
            self._append_all(map(self._meant, self.departed.changing(target.name, self.records)))
        if target in self.records:
            self._append_all(self.departed.followed(target, self.records[target]))
        record, identity = self.records.get(target), target.identity()
        if record is None or record.identity != identity:
            # What has come under the same name since is another one, with an old value of its own.
            old = target.value()
            if old is None:
                return  # the write will fail
            self.records.pop(target, None)  # and the youngest
            record = self.records[target] = Record(old, identity, unwanted=self._undoing)
        record.pending.append(new)
        self._append(
            {
                "note": [target.kind, target.name],
                "old": record.old,
                "new": new,
                "identity": record.identity,
                **({"unwanted": True} if record.unwanted else {}),
            },
            sync=True,
        )

    def ended(self, target: Target, new: str, *, made: bool) -> None:
        """The write of which :meth:`note` was told has returned."""
        record = self.records.get(target)
        if record is None:
            return
        value = target.value()
        if made:
            # A probe may go on after the write has returned.
            asynchronous = target.kind == "driver" and value != new
            record.pending = [new] if asynchronous else []
            record.made = value
        elif new in record.pending:
            record.pending.remove(new)
        word = "made" if made else "failed"
        self._append({word: [target.kind, target.name], "new": new, "value": value})
        if value == record.old and not record.pending:
            self.settle(target)

    def before(self, path: Path, text: str) -> tuple[Target, str] | None:
        """A write to sysfs is about to be made: see :class:`vfio_hw.host.sysfs.Keeper`."""
        changed = target_of(path, text)
        if changed is not None:
            self.note(*changed)
        return changed

    def after(self, token: tuple[Target, str] | None, *, made: bool) -> None:
        """It has returned."""
        if token is not None:
            self.ended(*token, made=made)

    def settle(self, target: Target) -> None:
        """Nothing of ours is left of the target."""
        self.records.pop(target, None)
        self._append({"settled": [target.kind, target.name]})

    def unwant(self, targets: Iterable[Target]) -> None:
        """These are to stay no more, whatever becomes of who says so; on disk on return."""
        names = []
        for target in targets:
            self.records[target].unwanted = True
            names.append([target.kind, target.name])
        if names:
            self._append({"unwanted": names}, sync=True)

    def learn(self, departed: Departed) -> None:
        """Of what it is about some has left its bus because of us, says another journal."""
        identities = {record.identity for record in self.records.values()}
        if lines := self.departed.learned(departed.models, identities):
            self._append_all(lines)
            os.fsync(self._fd)

    def complete(self) -> None:
        """All that it is about was changed, and may stay so; on disk when this returns."""
        self._append({"complete": True}, sync=True)

    def close(self) -> None:
        """End it: the file goes when nothing is left to be undone."""
        os.close(self._fd)
        if all(record.untouched(target) for target, record in self.records.items()):
            self.state.remove(self.name)

    def _meant(self, line: dict[str, Any]) -> dict[str, Any]:
        """What is kept because something is undone is to stay no more than that."""
        if not self._undoing or "kept" not in line:
            return line
        kind, name = line["kept"]
        self.records[Target(kind, name)].unwanted = True
        return {**line, "unwanted": True}

    def _append_all(self, lines: Iterable[dict[str, Any]]) -> None:
        for line in lines:
            self._append(line)

    def _append(self, line: dict[str, Any], *, sync: bool = False) -> None:
        size = os.fstat(self._fd).st_size
        try:
            write_all(self._fd, json.dumps(line).encode() + b"\n")
        except OSError as error:
            os.ftruncate(self._fd, size)  # half a line would make the next one unreadable
            if self._undoing and error.errno in (errno.ENOSPC, errno.EDQUOT):
                return  # on a full disk no change is made any more, but all can be undone
            raise
        if sync:
            os.fsync(self._fd)


@contextlib.contextmanager
def kept(journal: Journal) -> Iterator[Journal]:
    """Every write to sysfs that this package makes inside is noted in the journal."""
    sysfs.keepers.append(journal)
    try:
        yield journal
    finally:
        sysfs.keepers.remove(journal)
