"""Whether what failed on a mutant passes on the clean kernel."""

from collections.abc import Callable, Sequence
from pathlib import Path

from vfio_hw.mutate import seen
from vfio_hw.mutate.record import CLEAN, DETECTED, SURVIVED, Verdict
from vfio_hw.mutate.trial import Bench
from vfio_hw.order import Order
from vfio_hw.report.events import EventLog, Result
from vfio_hw.vm.kernels import Kernel

# How often a clean kernel is asked that gives no answer.
_TIMES = 2
# What these see may come of what ran before, or of a busy host.
_OF_BEFORE = ("hang", "leaks", "interrupt")


class Control:
    """Asks the clean kernel, and remembers its answers.

    :param fresh: makes a name into a new directory.
    :param machine: of fixtures/machines, which the bench is on; empty: the run's own.
    """

    def __init__(
        self, bench: Bench, kernel: Kernel, fresh: Callable[[str], Path], machine: str = ""
    ) -> None:
        self._bench, self._kernel, self._fresh = bench, kernel, fresh
        self._machine = machine
        self._conditions = {races: bench.conditions(races) for races in (False, True)}
        self._sound = {r: seen.sound_tests(kernel, how) for r, how in self._conditions.items()}
        self._alone = {
            r: seen.sound_tests(kernel, f"{how} alone") for r, how in self._conditions.items()
        }
        self.unsound: set[str] = set()
        """What failed on a clean kernel."""
        self.booted = False
        """Whether the clean kernel has booted in this run, and tests had results there."""

    def place(self, what: str) -> Path:
        """A new directory for a trial of a clean kernel; its name says on which machine."""
        return self._fresh("@".join(filter(None, (f"{CLEAN}-{what}", self._machine))))

    def take(self, results: Sequence[Result], races: bool, *, alone: bool = False) -> None:
        """Learn from the results of a clean kernel.

        :param alone: whether the first test of all is the only one.
        """
        self.drop(results)
        passed = {r.test for r in results if r.verdict == "passed"} - self.unsound
        self._sound[races] |= passed
        conditions = self._conditions[races]
        seen.remember_sound(self._kernel, conditions, passed)
        if alone:
            self._alone[races] |= passed
            seen.remember_sound(self._kernel, f"{conditions} alone", passed)

    def drop(self, results: Sequence[Result]) -> None:
        """What fails on a clean kernel is no witness any more, however often it has passed."""
        self.doubt(_failed(results))

    def doubt(self, tests: set[str]) -> None:
        """These have failed on a clean kernel."""
        self.unsound |= tests
        for kept in (*self._sound.values(), *self._alone.values()):
            kept -= tests
        for conditions in self._conditions.values():
            seen.forget_sound(self._kernel, (conditions, f"{conditions} alone"), tests)

    def of(self, found: Verdict, order: Order) -> tuple[bool | None, str]:
        """Whether what failed in a trial of this order passes on a clean kernel.

        None when that could not be seen, and a sentence on it.
        """
        if found.test in self.unsound:
            return False, ""
        if not is_test(found.test) and found.tests <= 1:
            # Nothing else was heard of this guest: that another one booted says enough.
            self.booted = self.booted or self._boots(order)
            return self.booted or None, "failed, nor did a clean kernel boot: see why"
        why = ""
        for _ in range(_TIMES):
            sound, why = self._asked(found, order)
            if sound is not None:
                return sound, why
        return None, why

    def _boots(self, order: Order) -> bool:
        """Whether a clean kernel boots now, on this machine."""
        clean = self._bench.tried(
            CLEAN,
            self._kernel.modules,
            order,
            self.place("boot"),
            frozenset(self.unsound),
            enough=lambda result, _: result.verdict == "passed",
        )
        return ran(clean)

    def _asked(self, found: Verdict, order: Order) -> tuple[bool | None, str]:
        test = found.test
        if is_test(test):
            before = found.oracle in _OF_BEFORE
            known = (self._alone if before else self._sound)[order.races]
            if test in known:
                return True, ""
            out, alone = self.place("test"), Order(tests=(test,), races=order.races)
            modules = self._kernel.modules
            self._bench.tried(CLEAN, modules, alone, out, enough=lambda r, _: r.test == test)
            results = EventLog(out / "events.jsonl").results()
            self.take(results, order.races, alone=True)
            if test in self.unsound:
                return False, ""
            why = f"failed, but whether it passes on a clean kernel could not be seen: see {out}"
            return test in known or None, why
        # What lies between tests or after them comes of those before it.
        return self.after_the_same(found, order)

    def after_the_same(self, found: Verdict, order: Order) -> tuple[bool | None, str]:
        """Whether a clean kernel passes all tests up to what failed, in the same order.

        None when that could not be seen, and a sentence on it.
        """
        out = self.place("same")
        clean = self._bench.tried(
            CLEAN,
            self._kernel.modules,
            order,
            out,
            frozenset(self.unsound),
            enough=lambda _, number: number >= found.tests,
        )
        self.drop(EventLog(out / "events.jsonl").results())
        if clean.verdict == DETECTED and clean.test == found.test:
            self.doubt({found.test})
            return False, ""
        why = f"failed, but the same tests on a clean kernel did not all pass either: see {out}"
        return clean.verdict == SURVIVED or None, why


def failed_clean(directory: Path, machine: str) -> set[str]:
    """The tests that have failed in any trial of a clean kernel of a run over mutants.

    :param machine: of fixtures/machines, on which it was; empty: the run's own.
    """
    trials = directory.glob(f"{CLEAN}-*/events.jsonl")
    there = (events for events in trials if _machine(events.parent.name) == machine)
    return set().union(*(_failed(EventLog(events).results()) for events in there))


def _machine(name: str) -> str:
    return name.partition("@")[2].partition("-again-")[0]


def _failed(results: Sequence[Result]) -> set[str]:
    failed = {r.test for r in results if r.verdict in ("failed", "known")}
    return set(filter(is_test, failed))


def is_test(name: str) -> bool:
    """Whether a result's name is that of a test: not ``after X``, nor ``20 tests up to X, memory``.

    (vfio_hw/plugin.py and vfio_hw/vm/supervisor.py give the others.)
    """
    file, separator, _ = name.partition("::")
    return bool(separator) and " " not in file


def ran(verdict: Verdict) -> bool:
    """Whether this kernel booted, and a test passed on it."""
    return verdict.verdict in (SURVIVED, DETECTED) and verdict.passed > 0
