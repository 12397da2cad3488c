"""What a journal's changes are to be undone: which of them are ours still, and in which order."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from vfio_hw.host.departed import BY_DRIVERS, Departed
from vfio_hw.host.held import in_words
from vfio_hw.host.journals import Found
from vfio_hw.host.openers import Opening
from vfio_hw.host.record import Record
from vfio_hw.host.rescan import AUTOPROBE
from vfio_hw.host.target import Target, alike, function_of

#: The last turn.
LAST = 3
#: Of a journal of another boot.
BOOTED = "the machine was booted since, so nothing is left"


@dataclass(frozen=True)
class Outcome:
    """What became of one target: ``restored``, ``left`` (it is not ours any more) or ``failed``.

    In a rehearsal also ``later``: only then can it be told.
    """

    target: Target
    word: str
    text: str

    def __str__(self) -> str:
        return f"{self.word:<8}  {self.target}: {self.text}"


Wanted = Callable[[Found, Target], bool]


def turn(records: Collection[Target], target: Target) -> int | None:
    """When it is to be put back; None: not while the driver that it had is not.

    What has left its bus is brought back first: only then can be told what has become of it; and
    others are found with it, which have no driver where the bus offers them to none, so that is
    seen to before. What drivers set comes last, when the old one has the function again.
    """
    if target.name.endswith(f"/{AUTOPROBE}"):
        return 0
    if target.kind == "present":
        return 1
    if not target.name.endswith(f"/{BY_DRIVERS}"):
        return 2
    return None if Target("driver", function_of(target) or "") in records else LAST


def open_in(holders: Sequence[Opening]) -> str:
    """Nothing of it is touched, says this, and what to do."""
    return f"it is open in {in_words(holders)}: end that process, then vfio-hw restore"


def lost_with_its_state(kind: str) -> str:
    """Of a mediated device of this type."""
    return (
        f"it was there before, of type {kind}, and was removed: its state is lost, create it anew"
    )


def not_ours(target: Target, record: Record, departed: Departed, value: str | None) -> str | None:
    """Why a target is not to be put back, "" when it is as it was; None: it is ours to put back.

    :param value: that it has now.
    """
    brought_back = departed.brought_back(target, record)
    if value is None or not (brought_back or target.identity() == record.identity):
        if not record.ours:
            return ""
        return "it went away since, and what is there now is another one"
    if value == record.old:
        return ""
    if any(alike(value, each) for each in record.ours) or "default" in record.ours:
        return None
    if not departed.theirs(target, record) if brought_back else _by_driver(target, record):
        return None
    ours = " or ".join(repr(each) for each in sorted(record.ours)) or "nothing"
    return f"somebody has set it to {value!r} since, and we had set it to {ours}"


def _by_driver(target: Target, record: Record) -> bool:
    """We have not set it: it was noted because the driver was about to change, which has."""
    return target.name.endswith(f"/{BY_DRIVERS}") and not record.ours
