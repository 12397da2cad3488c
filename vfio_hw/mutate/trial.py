"""One kernel, mutant or clean, under the tests until the first of them fails."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vfio_hw.errors import HarnessError, MachineLost
from vfio_hw.mutate.record import DETECTED, SURVIVED, UNCLEAR, Verdict
from vfio_hw.oracle.splats import splats
from vfio_hw.order import Order
from vfio_hw.report.events import EventLog, Result
from vfio_hw.report.known import Known, judged
from vfio_hw.session import with_plan
from vfio_hw.vm.machine import Deadlines, Guest
from vfio_hw.vm.supervisor import Supervisor
from vfio_hw.vm.topology import topology
from vfio_hw.watchdog import REPORT_SECONDS, deadline_for

# Seconds for each race: they are what finds a racy mutant, and come last for any other.
RACE_BUDGET = {True: 6.0, False: 1.0}
# pytest.ExitCode: usage error, nothing collected.
_PYTEST_USAGE, _PYTEST_NOTHING = 4, 5

Enough = Callable[[Result, int], bool]


class _Enough(Exception):
    """The verdict is known, or the time is over."""


@dataclass
class _Watch:
    """Takes the results of one trial, and ends it."""

    budget: float
    unsound: Collection[str] = ()
    enough: Enough | None = None
    began: float = field(default_factory=time.monotonic)
    first: float | None = None
    failed: Result | None = None
    errors: list[Result] = field(default_factory=list)
    tests: int = 0
    passed: int = 0
    seconds: float = 0.0

    def take(self, result: Result) -> None:
        now = time.monotonic()
        self.seconds = now - self.began
        self.first = self.first or now
        self.tests += 1
        self.passed += result.verdict == "passed"
        if result.verdict == "failed" and result.test not in self.unsound:
            self.failed = result
            raise _Enough
        if result.verdict == "error":
            self.errors.append(result)
        if self.enough(result, self.tests) if self.enough else now - self.first > self.budget:
            raise _Enough


@dataclass(frozen=True)
class Bench:
    """What all trials of a run have in common."""

    machine: Guest
    line: Callable[[bool], list[str]]  # pytest's, for races or for the rest
    kernel: str  # its name and release
    release: str
    finds: Sequence[Known]
    budget: float

    def tried(
        self,
        name: str,
        modules: Path,
        order: Order,
        out: Path,
        unsound: Collection[str] = (),
        enough: Enough | None = None,
    ) -> Verdict:
        """Boot a kernel with these modules, and run the tests in this order.

        :param out: a new directory, which a guest can see.
        :param unsound: what fails on a clean kernel too: that it fails decides nothing.
        :param enough: ends it after a result, instead of the budget; gets the number of results.
        :raises HarnessError: the selection has no test.
        """
        out.mkdir(parents=True)
        order.write(out / "order.json")
        line = [*self.line(order.races), f"--order={out / 'order.json'}"]
        machine, plan = with_plan(self.machine, line, self.release, out)
        watch = _Watch(self.budget, unsound, enough)
        supervisor = Supervisor(
            replace(machine, modules=modules, cpus=self._cpus(order.races)),
            out,
            EventLog(out / "events.jsonl"),
            deadlines=Deadlines(
                silence=deadline_for(RACE_BUDGET[order.races]) + REPORT_SECONDS,
                whole=600.0 + self.budget,
            ),
            judge=lambda result: judged(result, self.release, self.finds),
            splats=splats,
            on_result=watch.take,
            on_output=lambda data: None,
            most_lost=3,
            plan=plan,
        )
        why = ""
        try:
            ended = supervisor.run()
            said = f"see {out}/guest-{ended.guests}/output.log"
            if not watch.tests and ended.status in (_PYTEST_USAGE, _PYTEST_NOTHING):
                raise HarnessError(f"no test matches the selection: {said}")
            if ended.left or not watch.tests or ended.status not in (0, 1):
                why = (
                    f"pytest ended with status {ended.status}, {len(ended.left)} tests left: {said}"
                )
        except _Enough:
            pass
        except MachineLost as error:
            why = str(error)
        return self._verdict(name, watch, why)

    def on(self, name: str) -> "Bench":
        """The same on another machine of fixtures/machines; on this one without a name."""
        if not name:
            return self
        return replace(self, machine=replace(self.machine, topology=topology(name)))

    def conditions(self, races: bool) -> str:
        """What a result depends on besides the kernel and the test."""
        guest, seconds = self.machine, RACE_BUDGET[races]
        return (
            f"{guest.topology.name} {guest.accelerator} {self._cpus(races)} cpus {guest.memory}"
            f" {seconds:g} s"
        )

    def _cpus(self, races: bool) -> int:
        # Emulated processors keep each other waiting: what is no race costs less with one.
        alone = self.machine.accelerator == "tcg" and not races
        return 1 if alone else self.machine.cpus

    def _verdict(self, name: str, watch: _Watch, why: str) -> Verdict:
        verdict = Verdict(
            name,
            SURVIVED,
            kernel=self.kernel,
            seconds=round(watch.seconds, 1),
            tests=watch.tests,
            passed=watch.passed,
        )
        if failed := watch.failed:
            title = failed.findings[0] if failed.findings else _first_line(failed.text)
            return replace(
                verdict, verdict=DETECTED, test=failed.test, oracle=failed.oracle, text=title
            )
        if why or watch.errors:
            text = why or _first_line(watch.errors[0].text)
            test = watch.errors[0].test if watch.errors else ""
            return replace(verdict, verdict=UNCLEAR, test=test, text=text)
        if not watch.passed:
            text = f"none of {watch.tests} tests passed, nor did one fail: none looked at anything"
            return replace(verdict, verdict=UNCLEAR, text=text)
        return verdict


def _first_line(text: str) -> str:
    lines = [line[1:].strip() for line in text.splitlines() if line.startswith("E ")]
    return (lines or text.splitlines() or [""])[0]
