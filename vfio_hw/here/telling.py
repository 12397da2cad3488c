"""Telling a person what becomes of each change while it is undone."""

from collections.abc import Iterable

from vfio_hw.host.rehearsal import Write
from vfio_hw.host.text import printable
from vfio_hw.host.undoable import Outcome
from vfio_hw.report import terminal

_DONE, _FAILED = 0, 3


def rehearse(planned: Iterable[Outcome | Write]) -> int:
    """Print each write that would be made, and what would not be put back; the exit status."""
    failed = False
    for each in planned:
        if isinstance(each, Outcome):
            print(printable(str(each)))
            failed |= each.word == "failed"
        else:
            print(printable(f"write {each[1]!r} to {each[0]}"))
    return _FAILED if failed else _DONE


def tell(outcomes: Iterable[Outcome]) -> int:
    """Print each as it comes, for as long as somebody reads it; the exit status."""
    failed = False
    for outcome in outcomes:
        try:
            print(printable(str(outcome)), flush=True)
        except OSError:
            # A closed pipe, a terminal that is gone: what is to be undone is undone all the same.
            terminal.hang_up()
        failed |= outcome.word == "failed"
    return _FAILED if failed else _DONE
