"""This file checks how mutants are judged, and what makes a failure a detection."""

import contextlib
from dataclasses import replace

import pytest

from tests_hw.unit.conftest import Bench
from vfio_hw.mutate import judging, seen, trial
from vfio_hw.mutate.record import (
    BAD,
    CLEAN,
    DETECTED,
    EQUIVALENT,
    SURVIVED,
    UNCLEAR,
    Verdict,
)
from vfio_hw.report.events import Result


def test_every_mutant_has_its_verdict_and_clean_kernels_come_between(made):
    mutants, kernel, record = made
    bench = Bench({"A-1": Verdict("A-1", DETECTED, test="t.py::test[edu]", seconds=7.0)})
    verdicts = list(judging.verdicts(bench, mutants, kernel, record))
    found = [(v.id, v.verdict) for v in verdicts]
    expected = [(CLEAN, SURVIVED), ("A-1", DETECTED), ("B-1", BAD), ("C-1", EQUIVALENT)]
    assert found == expected
    assert [v.build_seconds for v in verdicts] == [0.0, 2.0, 0.0, 0.0]
    _, order = bench.asked[1]
    assert (order.promise, order.devices) == ("P2", ("edu",))


@pytest.mark.parametrize("clean", ["failed", "known"])
def test_a_test_that_fails_on_a_clean_kernel_too_detects_nothing(made, clean):
    """It goes on failing: the mutant is judged by the others."""
    mutants, kernel, record = made
    bad = Verdict("A-1", DETECTED, test="t.py::test_bad")

    class Misled(Bench):
        alone = clean

        def tried(self, name, modules, order, out, unsound=(), enough=None) -> Verdict:
            verdict = super().tried(name, modules, order, out, unsound, enough)
            return bad if name == "A-1" and bad.test not in unsound else verdict

    bench = Misled({})
    found = {v.id: v for v in judging.verdicts(bench, mutants, kernel, record)}
    assert found["A-1"].verdict == SURVIVED
    assert [name for name, _ in bench.asked] == [CLEAN, "A-1", CLEAN, "A-1"]
    assert seen.tests_of("A-1") == ()


def test_a_clean_kernel_that_fails_at_everything_lets_nothing_be_judged(made):
    """Every trial ends with another test that fails on both: there is an end to them."""
    mutants, kernel, record = made

    class Broken(Bench):
        alone = "failed"

        def tried(self, name, modules, order, out, unsound=(), enough=None) -> Verdict:
            verdict = super().tried(name, modules, order, out, unsound, enough)
            test = f"t.py::test_{len(unsound)}"
            return replace(verdict, verdict=DETECTED, test=test) if name == "A-1" else verdict

    bench = Broken({})
    found = list(judging.verdicts(bench, mutants[:1], kernel, record))[1]
    assert found.verdict == UNCLEAR
    assert [name for name, _ in bench.asked].count("A-1") == 10


@pytest.mark.parametrize("alone", ["skipped", "error", ""])
def test_a_test_that_has_not_passed_on_a_clean_kernel_detects_nothing_for_sure(made, alone):
    """Asked once more it did not either: the mutant is unclear, and nothing is remembered."""
    mutants, kernel, record = made
    bench = Bench({"A-1": Verdict("A-1", DETECTED, test="t.py::test[edu]", tests=9)})
    bench.alone = alone
    found = list(judging.verdicts(bench, mutants[:1], kernel, record))[1]
    assert (found.verdict, found.test) == (UNCLEAR, "t.py::test[edu]")
    assert "could not be seen" in found.text
    assert [name for name, _ in bench.asked] == [CLEAN, "A-1", CLEAN, CLEAN]
    assert seen.tests_of("A-1") == ()
    assert seen.sound_tests(kernel, bench.conditions(False)) == set()


@pytest.mark.parametrize(
    ("what", "clean", "verdict"),
    [
        ("after t.py::test[edu]", Verdict(CLEAN, SURVIVED, tests=9), DETECTED),
        ("20 tests up to t.py::test, memory", Verdict(CLEAN, UNCLEAR, tests=9), UNCLEAR),
        ("guest 1, outside of the tests", Verdict(CLEAN, DETECTED, test="x", tests=9), UNCLEAR),
    ],
)
def test_what_is_no_test_needs_a_clean_kernel_under_the_same_tests(made, what, clean, verdict):
    mutants, kernel, record = made

    class Same(Bench):
        def tried(self, name, modules, order, out, unsound=(), enough=None) -> Verdict:
            found = super().tried(name, modules, order, out, unsound, enough)
            return clean if enough and name == CLEAN else found

    bench = Same({"A-1": Verdict("A-1", DETECTED, test=what, tests=9)})
    found = list(judging.verdicts(bench, mutants[:1], kernel, record))[1]
    assert found.verdict == verdict
    (first, mine), (second, same) = bench.asked[1:3]
    assert (first, second) == ("A-1", CLEAN)
    assert mine == same
    assert seen.tests_of("A-1") == ()


@pytest.mark.parametrize(
    ("clean", "verdict"), [(Verdict(CLEAN, SURVIVED, tests=3, passed=3), DETECTED), (None, UNCLEAR)]
)
def test_a_mutant_does_not_boot_when_the_clean_kernel_does(made, clean, verdict):
    mutants, kernel, record = made
    dead = Verdict(CLEAN, DETECTED, test="boot of guest 1", tests=1)
    bench = Bench({CLEAN: clean or dead, "A-1": replace(dead, id="A-1")})
    found = list(judging.verdicts(bench, mutants[:1], kernel, record))[1]
    assert found.verdict == verdict
    again = ["A-1"] if clean else [CLEAN]
    assert [name for name, _ in bench.asked] == [CLEAN, "A-1", *again]


def test_what_fails_on_a_clean_kernel_too_does_not_end_a_trial():
    watch = trial._Watch(60.0, unsound={"t.py::test_bad"})
    for name in ("test_bad", "test_bad", "test_good"):
        watch.take(Result(f"t.py::{name}", "failed" if name == "test_bad" else "passed", 1.0))
    assert (watch.tests, watch.failed) == (3, None)
    with pytest.raises(trial._Enough):
        watch.take(Result("t.py::test_other", "failed", 1.0))


@pytest.mark.parametrize(
    ("verdicts", "verdict", "passed"),
    [
        (["skipped", "passed"], SURVIVED, 1),
        (["skipped", "skipped"], UNCLEAR, 0),
        (["known", "skipped"], UNCLEAR, 0),
        (["skipped", "failed"], DETECTED, 0),
    ],
)
def test_where_no_test_passed_nothing_was_seen(verdicts, verdict, passed):
    """A test that was skipped has looked at nothing, on a mutant or a clean kernel."""
    watch = trial._Watch(60.0)
    with contextlib.suppress(trial._Enough):
        for number, each in enumerate(verdicts):
            watch.take(Result(f"t.py::test_{number}", each, 1.0))
    bench = trial.Bench(None, None, "7.3.4 (k)", "7.3.4", (), 60.0)
    found = bench._verdict("A-1", watch, "")
    assert (found.verdict, found.tests, found.passed) == (verdict, 2, passed)
