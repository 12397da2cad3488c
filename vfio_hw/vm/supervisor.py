"""Runs a list of tests in as many guests as it takes: a guest that dies costs one verdict.

Tests are known here only by the names in the events; what they do is no business of this package.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from vfio_hw.errors import MachineLost
from vfio_hw.report.events import EventLog, Result, result_of
from vfio_hw.vm import machine
from vfio_hw.vm.machine import Deadlines, Ending, Guest, GuestRun

_CONSOLE_TAIL = 40
# What the kernel says when a processor sleeps although its timer is due. The timer is emulated.
_TIMER_STOPPED = "timer wakeup didn't happen"
# Killed by SIGBUS or SIGSEGV: a program of Python does not do that to itself.
_KILLED_BY_MEMORY = (128 + 7, 128 + 11)


class Splat(Protocol):
    """A report in the text of a kernel."""

    @property
    def title(self) -> str:
        """What the same fault is called every time."""

    @property
    def text(self) -> str:
        """The report."""


@dataclass
class _Progress:
    planned: list[str] = field(default_factory=list)
    finished: set[str] = field(default_factory=set)
    running: str | None = None
    began: float = 0.0  # when the running test did, on the clock of time.monotonic()
    unusable: bool = False
    excused: bool = False  # the last result is a fault that is known
    collected: bool = False  # this guest has said which tests it will run
    last: str = ""  # the test of this guest's last result
    told: set[str] = field(default_factory=set)  # titles of what this guest's results tell of

    @property
    def left(self) -> list[str]:
        return [test for test in self.planned if test not in self.finished]


@dataclass(frozen=True)
class Supervised:
    """How the guests together ended."""

    guests: int
    left: list[str]  # tests that no guest came to
    status: int | None  # of the last guest's command


class Supervisor:
    """Boots guests until every test has its verdict, or too many guests were lost.

    :param guest: what to boot; once the tests are known, its argv gets ``--left=FILE`` added, a
        file of the names of those that are to be run yet.
    :param judge: has the last word on a result before it is recorded.
    :param splats: finds the reports in lines of a console.
    :param on_result: gets each result as it comes.
    """

    def __init__(
        self,
        guest: Guest,
        out: Path,
        log: EventLog,
        *,
        deadlines: Deadlines,
        judge: Callable[[Result], Result],
        splats: Callable[[Sequence[str]], Sequence[Splat]],
        on_result: Callable[[Result], None],
        on_output: Callable[[bytes], None],
        most_lost: int,
    ) -> None:
        self._guest, self._out, self._log = guest, out, log
        self._deadlines, self._judge, self._splats = deadlines, judge, splats
        self._on_result, self._on_output, self._most_lost = on_result, on_output, most_lost
        self._progress = _Progress()
        self._again: set[str] = set()

    def run(self) -> Supervised:
        """Run all of it.

        :raises MachineLost: a guest did not boot.
        """
        number = lost = 0
        while True:
            number += 1
            ended = self._one_guest(number)
            if ended.ending is Ending.NO_BOOT:
                raise MachineLost(f"guest {number} did not boot: {ended.text}; {ended.console}")
            whole = ended.ending is Ending.EXITED and self._progress.running is None
            if whole:
                self._overheard(ended, number)
            elif not self._given_up(ended):
                self._settle(ended, number)
            left = self._progress.left
            if not left or (whole and not self._progress.unusable):
                return Supervised(number, left, ended.status)
            # A known fault costs a fresh guest each time, but does not tell against the kernel.
            lost += not self._progress.excused
            if lost >= self._most_lost:
                self._log.write({"event": "stopped", "text": f"{lost} guests were lost"})
                return Supervised(number, left, ended.status)

    def _one_guest(self, number: int) -> GuestRun:
        directory = self._out / f"guest-{number}"
        directory.mkdir(parents=True)
        self._progress.unusable = self._progress.collected = False
        # What an earlier guest said, or was left with, is none of this one's.
        self._progress.last, self._progress.told = "", set()
        self._log.write({"event": "guest", "number": number})
        guest = self._guest
        if self._progress.planned:
            left = directory / "left"
            left.write_text(json.dumps(self._progress.left))
            guest = replace(guest, argv=[*guest.argv, f"--left={left}"])
        with (directory / "output.log").open("wb") as output:

            def keep(data: bytes) -> None:
                output.write(data)
                output.flush()
                self._on_output(data)

            ended = machine.run(
                guest, directory, deadlines=self._deadlines, on_event=self._take, on_output=keep
            )
        self._log.write(
            {
                "event": "guest_ended",
                "number": number,
                "ending": ended.ending.value,
                "seconds": round(ended.seconds, 3),
                "text": ended.text,
            }
        )
        return ended

    def _take(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "finished":
            self._finish(result_of(event))
            return
        self._log.write(event)
        if kind == "session":
            self._progress.collected = True
            self._progress.planned = self._progress.planned or list(event["tests"])
        elif kind == "started":
            self._progress.running = str(event["test"])
            self._progress.began = time.monotonic()
        elif kind == "unusable":
            self._progress.unusable = True

    def _finish(self, result: Result) -> None:
        emulated = self._guest.accelerator == "tcg"
        if result.verdict == "failed" and emulated and _TIMER_STOPPED in result.text:
            text = f"the timer of an emulated processor stopped: run it again\n{result.text}"
            result = replace(result, verdict="error", text=text)
            if result.test in self._progress.left and result.test not in self._again:
                self._run_again(result.test, text)
                return
        result = self._judge(result)
        self._progress.running = None
        self._progress.last = result.test
        self._progress.finished.add(result.test)
        self._progress.excused = result.verdict == "known"
        self._progress.told |= {title.partition(": ")[2] for title in result.findings}
        self._log.write(result.as_event())
        self._on_result(result)

    def _run_again(self, test: str, why: str) -> None:
        """Once, in the next guest: what this one shows is no word on the kernel."""
        self._again.add(test)
        self._progress.running, self._progress.excused = None, True
        self._log.write({"event": "again", "test": test, "text": why})

    def _given_up(self, ended: GuestRun) -> bool:
        """The guest did not end itself because of what already has its verdict."""
        progress = self._progress
        return progress.unusable and not progress.running and ended.ending is Ending.HUNG

    def _settle(self, ended: GuestRun, number: int) -> None:
        """Give what was going on when the guest died its verdict."""
        found = self._splats(_lines(ended))
        oracle = {Ending.PANICKED: "panic", Ending.HUNG: "hang"}.get(ended.ending, "exit")
        progress, verdict = self._progress, "failed"
        if ended.ending is Ending.CUT_OFF and not found:
            verdict = "error"
        if progress.running:
            test = progress.running
        elif progress.collected:
            # Whatever the last test left behind is what killed the guest.
            test = f"after {progress.last}" if progress.last else f"guest {number}"
        else:
            test = f"boot of guest {number}"
            # A machine that is too slow looks the same, unless the kernel said something.
            if ended.ending is Ending.HUNG and not found:
                verdict = "error"
        if ended.ending is Ending.EXITED:
            if found:
                oracle = "kernel log"
            elif ended.status not in _KILLED_BY_MEMORY:
                verdict = "error"
        titles = [f"kernel log: {splat.title}" for splat in found]
        text = explained(ended, found, _lines(ended))
        seconds = time.monotonic() - progress.began if progress.running else ended.seconds
        self._finish(Result(test, verdict, round(seconds, 3), text, oracle, {}, titles))

    def _overheard(self, ended: GuestRun, number: int) -> None:
        """A splat on the console that no result tells of fails the guest as a whole."""
        found = [s for s in self._splats(_lines(ended)) if s.title not in self._progress.told]
        if found:
            titles = [f"kernel log: {splat.title}" for splat in found]
            text = explained(ended, found, [])
            test = f"guest {number}, outside of the tests"
            self._finish(Result(test, "failed", ended.seconds, text, "kernel log", {}, titles))


def explained(ended: GuestRun, found: Sequence[Splat], console: Sequence[str]) -> str:
    """The text of a result that a whole guest has caused: its splats, or its last words."""
    if found:
        return "\n\n".join(f"{splat.title}\n{splat.text}" for splat in found)
    tail = "\n".join(console[-_CONSOLE_TAIL:])
    return f"{ended.text}\nThe console's last lines:\n{tail}"


def _lines(ended: GuestRun) -> list[str]:
    return ended.console.read_text(errors="replace").splitlines()
