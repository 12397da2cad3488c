"""Runs a list of tests in as many guests as it takes: a guest that dies costs one verdict.

Tests are known here only by the names in the events; what they do is no business of this package.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vfio_hw.errors import MachineLost
from vfio_hw.host.timers import STOPPED
from vfio_hw.plan import Plan
from vfio_hw.report.events import Aside, EventLog, Result, result_of
from vfio_hw.vm import machine
from vfio_hw.vm.ending import Splat, explained, lines_of, result_of_end
from vfio_hw.vm.losses import Losses, Stopped, Supervised
from vfio_hw.vm.machine import Deadlines, Ending, Guest, GuestRun
from vfio_hw.vm.progress import MOST_KILLED, Progress

# What the kernel says when a processor sleeps although its timer is due. The timer is emulated.
_TIMER_STOPPED = ("timer wakeup didn't happen", STOPPED)


class Supervisor:
    """Boots guests until every test has its verdict, or too many guests were lost.

    :param guest: what to boot; once the tests are known, its argv gets ``--left=FILE`` added, a
        file of the names of those that are to be run yet.
    :param judge: has the last word on a result before it is recorded.
    :param splats: finds the reports in lines of a console.
    :param on_result: gets each result as it comes; ``on_event`` every other event of a guest.
    :param progress: what an earlier supervisor came to.
    :param losses: shared with others, whose guests run at the same time.
    :param advise: what to do about a guest that has panicked.
    :param aside: what takes events of these kinds, which are then not recorded.
    :param plan: what the guests were told to run.
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
        on_event: Callable[[dict[str, Any]], None] = lambda _: None,
        most_lost: int,
        progress: Progress | None = None,
        losses: Losses | None = None,
        advise: Callable[[GuestRun], str] = lambda ended: "",
        aside: Mapping[str, Aside] | None = None,
        plan: Plan | None = None,
    ) -> None:
        self._guest, self._out, self._log = guest, out, log
        self._deadlines, self._judge, self._splats = deadlines, judge, splats
        self._on_result, self._on_output = on_result, on_output
        self._on_event = on_event
        self._losses = losses or Losses(most_lost)
        self._progress, self._advise = progress or Progress(), advise
        self._aside, self._plan = aside or {}, plan or Plan()

    def run(self) -> Supervised:
        """Run all of it.

        :raises MachineLost: a guest did not boot, or too many were lost before one said its tests.
        """
        progress = self._progress
        self._rule_out(progress.left)
        if progress.done:
            return Supervised(progress.guests, [], 0)
        while True:
            ended = self._one_guest(progress.next_guest())
            number = progress.guests
            if ended.ending is Ending.NO_BOOT:
                # Where others came up, on a busy host say, this kernel does boot.
                if not self._losses.booted or self._losses.enough(more=True):
                    raise MachineLost(f"guest {number} did not boot: {ended.text}; {ended.console}")
                continue
            whole = ended.ending is Ending.EXITED and progress.running is None
            settled = True
            if whole:
                self._overheard(ended, number)
            elif not self._given_up(ended):
                settled = self._settle(ended)
            if progress.done or (whole and not progress.unusable):
                killed = progress.done and progress.excused and ended.status is None
                return Supervised(number, progress.left, 0 if killed else ended.status)
            if settled and progress.planned is None:
                return Supervised(number, [], ended.status)
            # A known fault costs a fresh guest each time, but does not tell against the kernel. Nor
            # does an end from outside: each test's attempts bound those.
            if self._losses.enough(more=not progress.excused):
                return self._stopped(ended)

    def _stopped(self, ended: GuestRun) -> Supervised:
        progress = self._progress
        why = f"{self._losses.number} guests were lost"
        if progress.planned is None:
            raise MachineLost(f"{why} before one could say its tests: {ended.text}")
        why = f"{why} (--most-lost), the last of them so: {ended.text}"
        self._log.write({"event": "stopped", "text": why})
        return Supervised(progress.guests, progress.left, ended.status, why)

    def _one_guest(self, number: int) -> GuestRun:
        directory = self._out / f"guest-{number}"
        # First of all: a supervisor that goes on after this one never uses its number again.
        self._log.write({"event": "guest", "number": number})
        directory.mkdir(parents=True)
        guest = self._guest
        if self._progress.planned is not None:
            left = directory / "left"
            left.write_text(json.dumps(self._progress.left))
            guest = replace(guest, argv=[*guest.argv, f"--left={left}"])
        with (directory / "output.log").open("wb") as output:

            def keep(data: bytes) -> None:
                output.write(data)
                output.flush()
                self._on_output(data)

            ended = machine.run(
                guest,
                directory,
                deadlines=self._deadlines,
                on_event=lambda event: self._take(directory, event),
                on_output=keep,
                stop=self._losses.stop,
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
        if self._losses.stop.is_set():
            raise Stopped
        return ended

    def _take(self, directory: Path, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind in self._aside:
            self._aside[kind](directory, event)
            return
        if kind == "finished":
            self._finish(result_of(event))
            return
        if kind == "session" and "tests" not in event:
            planned = self._progress.planned
            left = None if planned is None else set(self._progress.left)
            event = {**event, **self._plan.announced(left)}
        self._log.write({**event, "guest": self._progress.guests})
        self._on_event(event)
        if kind == "session":
            self._losses.booted = True
            self._progress.plan(event["tests"])
        elif kind == "started":
            self._progress.running = str(event["test"])
            self._progress.began = time.monotonic()
        elif kind == "unusable":
            self._progress.unusable = True

    def _finish(self, result: Result) -> None:
        self._progress.told |= {title.partition(": ")[2] for title in result.findings}
        emulated = self._guest.accelerator == "tcg"
        late = any(words in result.text for words in _TIMER_STOPPED)
        if result.verdict == "failed" and emulated and late:
            text = f"the timer of an emulated processor stopped: run it again\n{result.text}"
            result = replace(result, verdict="error", text=text)
            if result.test in self._progress.left and not self._progress.attempts[result.test]:
                self._run_again(result.test, text)
                return
        result = self._judge(result)
        self._progress.running = None
        self._progress.last = result.test
        self._progress.finished.add(result.test)
        self._progress.excused = result.verdict == "known"
        self._log.write({**result.as_event(), "guest": self._progress.guests})
        self._on_result(result)

    def _run_again(self, test: str, why: str) -> None:
        """Once, in the next guest: what this one shows is no word on the kernel."""
        self._progress.running, self._progress.excused = test, True
        self._progress.put_off()
        self._log.write({"event": "again", "test": test, "text": why})

    def _rule_out(self, tests: Sequence[str], why: str = "in earlier runs") -> None:
        """Give those that have killed too many guests already their verdict."""
        for test in tests:
            if self._progress.attempts[test] >= MOST_KILLED:
                text = f"{MOST_KILLED} guests ended under it, so it is not tried again: {why}"
                self._finish(Result(test, "error", 0.0, text, "exit"))

    def _given_up(self, ended: GuestRun) -> bool:
        """The guest did not end itself because of what already has its verdict."""
        progress = self._progress
        return progress.unusable and not progress.running and ended.ending is Ending.HUNG

    def _settle(self, ended: GuestRun) -> bool:
        """Give what was going on when the guest died its verdict, or another try."""
        found, progress = self._splats(lines_of(ended.console)), self._progress
        if ended.ending is Ending.CUT_OFF and not found:
            # That says nothing of the kernel, and of the test only if it happens again and again.
            if test := progress.running:
                self._run_again(test, ended.text)
                self._rule_out([test], ended.text)
            else:
                progress.excused = bool(progress.last)
            return False
        seconds = time.monotonic() - progress.began if progress.running else ended.seconds
        result = result_of_end(ended, found, progress, seconds)
        if ended.ending is Ending.PANICKED:
            words = [result.text, ended.dump, self._advise(ended)]
            result = replace(result, text="\n".join(filter(None, words)))
        self._finish(result)
        progress.excused |= ended.ending is Ending.RESET and result.verdict == "passed"
        return True

    def _overheard(self, ended: GuestRun, number: int) -> None:
        """A splat on the console that no result tells of fails the guest as a whole."""
        reports = self._splats(lines_of(ended.console))
        found = [splat for splat in reports if splat.title not in self._progress.told]
        if found:
            titles = [f"kernel log: {splat.title}" for splat in found]
            text = explained(ended, found, [])
            test = f"guest {number}, outside of the tests"
            self._finish(Result(test, "failed", ended.seconds, text, "kernel log", {}, titles))
