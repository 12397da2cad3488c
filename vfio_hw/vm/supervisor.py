"""Runs a list of tests in as many guests as it takes: a guest that dies costs one verdict.

Tests are known here only by the names in the events; what they do is no business of this package.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vfio_hw.errors import MachineLost
from vfio_hw.report.events import EventLog, Result
from vfio_hw.vm import machine
from vfio_hw.vm.machine import Deadlines, Ending, Guest, GuestRun

_BOOT = "boot"


@dataclass
class _Progress:
    planned: list[str] = field(default_factory=list)
    finished: set[str] = field(default_factory=set)
    running: str | None = None
    unusable: bool = False
    excused: bool = False  # the last result is a fault that is known

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

    :param guest: what to boot; its argv gets ``--finished=FILE`` added, a file of the names of
        the tests that are not to be run again.
    :param judge: has the last word on a result before it is recorded.
    :param explain: makes (oracle, text) of the console of a guest that died.
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
        explain: Callable[[GuestRun, str], tuple[str, str]],
        on_result: Callable[[Result], None],
        on_output: Callable[[bytes], None],
        most_lost: int,
    ) -> None:
        self._guest, self._out, self._log = guest, out, log
        self._deadlines, self._judge, self._explain = deadlines, judge, explain
        self._on_result, self._on_output, self._most_lost = on_result, on_output, most_lost
        self._progress = _Progress()

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
            if not whole:
                self._settle(ended)
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
        finished = directory / "finished"
        finished.write_text(json.dumps(sorted(self._progress.finished)))
        self._progress.unusable = False
        self._log.write({"event": "guest", "number": number})
        guest = replace(self._guest, argv=[*self._guest.argv, f"--finished={finished}"])
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
            self._finish(Result(**{key: event[key] for key in event if key != "event"}))
            return
        self._log.write(event)
        if kind == "session" and not self._progress.planned:
            self._progress.planned = list(event["tests"])
        elif kind == "started":
            self._progress.running = str(event["test"])
        elif kind == "unusable":
            self._progress.unusable = True

    def _finish(self, result: Result) -> None:
        result = self._judge(result)
        self._progress.running = None
        self._progress.finished.add(result.test)
        self._progress.excused = result.verdict == "known"
        self._log.write(result.as_event())
        self._on_result(result)

    def _settle(self, ended: GuestRun) -> None:
        """Give the test that was running when the guest died its verdict."""
        console = ended.console.read_text(errors="replace")
        oracle, text = self._explain(ended, console)
        test = self._progress.running or (_BOOT if not self._progress.finished else None)
        if test is None:
            # Between two tests: whatever the last one left behind is what killed the guest.
            test = f"after {self._last_finished()}"
        verdict = "error" if ended.ending is Ending.EXITED else "failed"
        self._finish(Result(test, verdict, ended.seconds, text, oracle))

    def _last_finished(self) -> str:
        return self._log.results()[-1].test
