"""Whether what failed on a mutant fails on it once more, or is its doing on the face of it.

What fails once may be an accident: of a busy host, of a race, of what was there before.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vfio_hw.mutate import seen, variant
from vfio_hw.mutate.control import Control, is_test
from vfio_hw.mutate.mutant import Mutant
from vfio_hw.mutate.record import DETECTED, Verdict
from vfio_hw.mutate.trial import Bench, Enough
from vfio_hw.mutate.variant import Variant
from vfio_hw.oracle.splats import splats
from vfio_hw.order import Order
from vfio_hw.report.events import EventLog
from vfio_hw.vm.kernels import Kernel

# Reports of the kernel's that a busy host can bring about.
_OF_TIME = re.compile(r"INFO: task hung|INFO: rcu|BUG: (?:soft|hard) lockup|irq: nobody cared")
# A definition begins its line.
_DEFINED = re.compile(r"^[A-Za-z_][\w \t*]*?\b(\w+)\(", re.MULTILINE)
# What pytest puts before the lines of an exception.
_MARGIN = re.compile(r"^E? +", re.MULTILINE)
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Failure:
    """What ended a trial of a mutant."""

    mutant: Mutant
    made: Variant
    found: Verdict
    order: Order
    out: Path


class Repeat:
    """Has failures on mutants once more.

    :param fresh: makes a name into a new directory.
    """

    def __init__(
        self, bench: Bench, kernel: Kernel, control: Control, fresh: Callable[[str], Path]
    ) -> None:
        self._bench, self._kernel, self._control = bench, kernel, control
        self._fresh = fresh

    def of(self, failure: Failure) -> tuple[str, str]:
        """How it is known to be no accident; empty when it is not, and a sentence on it."""
        if self._by_name(failure):
            return "by name", ""
        test, order = failure.found.test, failure.order
        conditions = f"{failure.made.key} {self._bench.conditions(order.races)}"
        if test in seen.repeated_tests(conditions):
            return "earlier", ""
        how, why = self._repeated(failure)
        if how and is_test(test):
            seen.remember_repeated(conditions, test)
        return how, why

    def _repeated(self, failure: Failure) -> tuple[str, str]:
        found, order = failure.found, failure.order
        if is_test(found.test):
            alone = Order(tests=(found.test,), races=order.races)
            if self._fails(failure, alone, lambda result, _: result.test == found.test):
                return "alone", ""
            if found.tests <= 1:
                return "", "failed, and not when it ran once more"
        if not self._fails(failure, order, lambda _, number: number >= found.tests):
            return "", "failed, and not when it was its turn once more, after the same tests"
        if is_test(found.test):
            # It takes what those before it leave behind: a clean kernel gets them too.
            sound, why = self._control.after_the_same(found, order)
            if not sound:
                return "", why or "failed, as it does on a clean kernel after the same tests"
        return "after the same tests", ""

    def _fails(self, failure: Failure, order: Order, enough: Enough) -> bool:
        unsound = frozenset(self._control.unsound - {failure.found.test})
        out, name = self._fresh(f"{failure.mutant.id}-repeat"), failure.mutant.id
        again = self._bench.tried(name, failure.made.modules, order, out, unsound, enough)
        return again.verdict == DETECTED and _same(again.test, failure.found.test)

    def _by_name(self, failure: Failure) -> bool:
        """Whether the kernel reported a fault in a function of the file that the mutant changes."""
        if failure.found.oracle not in ("kernel log", "panic"):
            return False
        functions = set(_DEFINED.findall(variant.source(failure.mutant, self._kernel)))
        results = EventLog(failure.out / "events.jsonl").results()
        told = [r.text for r in results if r.test == failure.found.test and r.verdict == "failed"]
        reports = [splat for text in told for splat in splats(_MARGIN.sub("", text).splitlines())]
        return any(
            not _OF_TIME.match(splat.title) and functions & set(_symbols(splat.text))
            for splat in reports
        )


def _symbols(report: str) -> list[str]:
    """The functions that a report names; not what may only lie about on the stack."""
    return re.findall(r"(?<!\? )\b([A-Za-z_]\w*)(?:\.\w+)*\+0x[0-9a-f]+/0x", report)


def _same(one: str, other: str) -> bool:
    """Names of the same: what is no test has the number of its guest in it."""
    if is_test(one) or is_test(other):
        return one == other
    return _NUMBER.sub("N", one) == _NUMBER.sub("N", other)
