"""How far a list of tests has come, over all guests that had a part of it.

The record of a run says it too, so that a harness that died can be followed by another.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
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
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    """Of the guests that are yet to come, this progress's own and others'."""
    guests: int = 0  # the number of the present one, or the last
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
        self.guests = next(self.numbers)
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

    def shares(self, parts: Sequence[Sequence[str]]) -> list["Progress"]:
        """Progress of several guests at a time, each with its own part of what is left."""
        return [
            Progress(planned=list(part), attempts=Counter(self.attempts), numbers=self.numbers)
            for part in parts
        ]


def restored(events: Iterable[dict[str, Any]]) -> Progress:
    """The progress that a record tells of.

    A test that was running when its harness died has no verdict, and has cost an attempt.
    """
    progress, running, last = Progress(), dict[str, None](), 0
    for event in events:
        kind = event["event"]
        if kind == "guest":
            last = max(last, int(event["number"]))
        elif kind == "plan":
            progress.planned = list(event["tests"])
        elif kind == "session":
            progress.plan(event["tests"])
        elif kind == "started":
            running[str(event["test"])] = None
        elif kind == "finished":
            test = result_of(event).test
            progress.finished.add(test)
            running.pop(test, None)
        elif kind == "again":
            running.pop(str(event["test"]), None)
            progress.attempts[str(event["test"])] += 1
        elif kind == "interrupted":
            # By who runs it: that tells nothing of a test.
            running.clear()
        elif kind == "resumed":
            progress.attempts.update(list(running))
            running.clear()
    progress.attempts.update(list(running))
    progress.guests, progress.numbers = last, itertools.count(last + 1)
    return progress
