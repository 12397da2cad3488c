"""How far a list of tests has come, over all guests that had a part of it.

The record of a run says it too, so that a harness that died can be followed by another.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from vfio_hw.report.events import result_of

# So many guests that ended under a test, and not by a fault of the kernel's, are enough.
MOST_KILLED = 3


@dataclass
class Progress:
    """What is planned, what has its verdict, and what goes on in the present guest."""

    planned: list[str] | None = None  # not known before a guest has said it
    finished: set[str] = field(default_factory=set)
    attempts: Counter[str] = field(default_factory=Counter)
    """Of each test, how many guests ended under it without a verdict."""
    guests: int = 0
    running: str | None = None
    began: float = 0.0  # when the running test did, on the clock of time.monotonic()
    unusable: bool = False
    excused: bool = False  # the last result is a fault that is known
    collected: bool = False  # this guest has said which tests it will run
    last: str = ""  # the test of this guest's last result
    told: set[str] = field(default_factory=set)  # titles of what this guest's results tell of

    @property
    def left(self) -> list[str]:
        """The tests that have no verdict yet, as far as they are known."""
        return [test for test in self.planned or () if test not in self.finished]

    @property
    def done(self) -> bool:
        """Whether every test has its verdict."""
        return self.planned is not None and not self.left

    def next_guest(self) -> int:
        """The number of a guest that starts now."""
        self.guests += 1
        # What an earlier one said, or was left with, is none of this one's.
        self.running, self.last, self.told = None, "", set()
        self.unusable = self.collected = False
        return self.guests

    def plan(self, tests: Iterable[str]) -> None:
        """A guest has said which tests it will run; the first one names them all."""
        self.collected = True
        if self.planned is None:
            self.planned = list(tests)

    def put_off(self) -> None:
        """The running test is to be run once more, in the next guest."""
        if self.running:
            self.attempts[self.running] += 1
        self.running = None


def restored(events: Iterable[dict[str, Any]]) -> Progress:
    """The progress that a record tells of.

    A test that was running when the record ends, or another guest begins, has no verdict.
    """
    progress = Progress()
    for event in events:
        kind = event["event"]
        if kind == "guest":
            progress.put_off()
            progress.next_guest()
            progress.guests = max(progress.guests, int(event["number"]))
        elif kind == "session":
            progress.plan(event["tests"])
        elif kind == "started":
            progress.running = str(event["test"])
        elif kind == "finished":
            progress.finished.add(result_of(event).test)
            progress.running = None
        elif kind == "again":
            progress.running = str(event["test"])
            progress.put_off()
    progress.put_off()
    return progress
