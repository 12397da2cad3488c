"""What an earlier run on this machine has left: changes, and a test that the machine died in."""

import os
from collections.abc import Iterator
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.here import running
from vfio_hw.here.pstore import last_words
from vfio_hw.here.running import Running
from vfio_hw.here.telling import tell
from vfio_hw.host import journals
from vfio_hw.host.journals import Found
from vfio_hw.host.rehearsal import Write, rehearsed
from vfio_hw.host.restore import restore
from vfio_hw.host.state import State
from vfio_hw.host.target import Target
from vfio_hw.host.undoable import Outcome
from vfio_hw.oracle.splats import splats
from vfio_hw.report.events import EventLog, Result, opened

_KEPT = 300  # lines of a dead kernel's log


def undone(state: State) -> Iterator[Outcome]:
    """Undo what a run that is no more has changed, or a bind or unbind that was cut short.

    What bind has taken stays taken.
    """
    return restore(state, _left_over)


def would_be_undone(state: State) -> Iterator[Outcome | Write]:
    """The same in advance: what would be written, and nothing is."""
    return rehearsed(state, _left_over)


def _left_over(found: Found, target: Target) -> bool:
    return not found.stays(target)


def must_be_undone(state: State) -> None:
    """Nothing is left of earlier runs: what they have left is undone, and told.

    :raises HarnessError: something of it can not be put back.
    """
    if tell(undone(state)):
        raise HarnessError(
            "an earlier run has left what can not be put back, see above: see to it, then start"
            " again"
        )


def crashed(state: State) -> Result | None:
    """The result of the test that ran when the machine died, once; None when it did not die.

    A run that was killed leaves the same note, in the boot that still is: that says nothing of the
    kernel.
    """
    test = running.cut_short(state)
    if test is None:
        return None
    result = None if test.boot == journals.boot() else _result(test)
    if result is not None and test.results:
        _add(Path(test.results) / "events.jsonl", result)
    running.over(state)
    return result


def _result(test: Running) -> Result:
    words = last_words(test.began)
    lines = words.splitlines()
    found = splats(lines)
    titles = [f"kernel log: {splat.title}" for splat in found]
    head = "the machine died, or was reset, while this test ran"
    if not words:
        head += "; nothing of its last words was kept (pstore)"
    explained = [f"{splat.title}\n{splat.text}" for splat in found]
    text = "\n\n".join([head, *explained, *(["\n".join(lines[-_KEPT:])] if lines else [])])
    return Result(test.test, "failed", 0.0, text, "panic", {}, titles)


def _add(record: Path, result: Result) -> None:
    """To the record that the test's own run has left, if it is one, and ours."""
    try:
        descriptor = opened(record, os.O_RDWR | os.O_APPEND)
    except OSError:
        return
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():
            EventLog(record, descriptor).write(result.as_event())
    except OSError:
        return
    finally:
        os.close(descriptor)
