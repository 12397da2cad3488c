"""This file checks how mutants are judged, and what makes a failure a detection."""

from dataclasses import replace
from pathlib import Path

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.mutate import corpus, judging, seen, trial, variant
from vfio_hw.mutate.record import (
    BAD,
    CLEAN,
    DETECTED,
    EQUIVALENT,
    SURVIVED,
    UNCLEAR,
    UNFIT,
    Asked,
    Record,
    Verdict,
)
from vfio_hw.mutate.variant import Variant
from vfio_hw.report.events import EventLog, Result
from vfio_hw.vm.kernels import Kernel

PATCH = """\
// id: {id}
// title: made for this test
// class: lost request
// promise: P2
// origin: plausible
// device: edu
// oracle: assertion
// kind: deterministic
// file: drivers/vfio/vfio_main.c
{more}
@@ @@
- a();
"""


class Bench:
    """Boots nothing: gives the verdicts it was told, and remembers what it was asked."""

    kernel, release, finds, budget = "7.3.4 (k)", "7.3.4", (), 60.0
    alone = "passed"  # the verdict of a test that is asked alone, on a clean kernel

    def __init__(self, told: dict[str, Verdict | BaseException]) -> None:
        self.told, self.asked = told, []
        self.machine, self.machines = "", []

    def on(self, name) -> "Bench":
        self.machine = name
        return self

    def conditions(self, races) -> str:
        return f"races {races}"

    def tried(self, name, modules, order, out, unsound=(), enough=None) -> Verdict:
        self.asked.append((name, order))
        self.machines.append(self.machine)
        out.mkdir()
        alone = order.tests[:1] if enough and order.tests else ()
        results = [Result(test, self.alone, 1.0) for test in alone if self.alone]
        log = EventLog(out / "events.jsonl")
        log.path.touch()
        for result in results:
            log.write(result.as_event())
        answer = self.told.get(name, Verdict(name, SURVIVED, tests=3, seconds=1.0))
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A corpus, a kernel that was never built, and a record."""
    monkeypatch.setenv("VFIO_HW_CACHE", str(tmp_path / "cache"))
    for name, more in (("A-1", ""), ("B-1", ""), ("C-1", "// equivalent: nobody is there\n")):
        (tmp_path / f"{name}.cocci").write_text(PATCH.format(id=name, more=more))
    kernel = Kernel("k", "7.3.4", Path("i"), Path("m"), None, None, tmp_path, objects=tmp_path)

    def provide(mutant, kernel):
        if mutant.id == "B-1":
            raise HarnessError("B-1: its patch matches nothing")
        return Variant(Path("modules"), variant.key_of(mutant, kernel), 2.0)

    monkeypatch.setattr(variant, "provide", provide)
    mutants, _ = corpus.read(tmp_path)
    results = tmp_path / "results"
    results.mkdir()
    record = Record(results)
    record.begin(Asked({}, str(tmp_path), [], 60.0, 7, []))
    return mutants, kernel, record


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
            return clean if enough else found

    bench = Same({"A-1": Verdict("A-1", DETECTED, test=what, tests=9)})
    found = list(judging.verdicts(bench, mutants[:1], kernel, record))[1]
    assert found.verdict == verdict
    (first, mine), (second, same) = bench.asked[1:3]
    assert (first, second) == ("A-1", CLEAN)
    assert mine == same
    assert seen.tests_of("A-1") == ()


@pytest.mark.parametrize(
    ("clean", "verdict"), [(Verdict(CLEAN, SURVIVED, tests=3), DETECTED), (None, UNCLEAR)]
)
def test_a_mutant_does_not_boot_when_the_clean_kernel_does(made, clean, verdict):
    mutants, kernel, record = made
    dead = Verdict(CLEAN, DETECTED, test="boot of guest 1", tests=1)
    bench = Bench({CLEAN: clean or dead, "A-1": replace(dead, id="A-1")})
    found = list(judging.verdicts(bench, mutants[:1], kernel, record))[1]
    assert found.verdict == verdict
    again = [] if clean else [CLEAN]
    assert [name for name, _ in bench.asked] == [CLEAN, "A-1", *again]


@pytest.mark.parametrize(("clean", "verdict"), [(SURVIVED, DETECTED), (UNCLEAR, UNCLEAR)])
def test_a_clean_kernel_boots_on_the_machine_of_a_mutant_that_does_not(made, clean, verdict):
    """None has before: a clean kernel comes by itself on the machine of every tenth mutant."""
    mutants, kernel, record = made
    wanted = [mutants[0], replace(mutants[0], id="D-1", machine="sr-iov")]

    class There(Bench):
        def tried(self, name, modules, order, out, unsound=(), enough=None) -> Verdict:
            said = super().tried(name, modules, order, out, unsound, enough)
            there = self.machine == "sr-iov" and name == CLEAN
            return replace(said, verdict=clean) if there else said

    bench = There({"D-1": Verdict("D-1", DETECTED, test="boot of guest 1", tests=1)})
    found = list(judging.verdicts(bench, wanted, kernel, record))[2]
    assert found.verdict == verdict
    assert [name for name, _ in bench.asked] == [CLEAN, "A-1", "D-1", CLEAN]
    assert bench.machines[-1] == "sr-iov"


def test_what_fails_on_a_clean_kernel_too_does_not_end_a_trial():
    watch = trial._Watch(60.0, unsound={"t.py::test_bad"})
    for name in ("test_bad", "test_bad", "test_good"):
        watch.take(Result(f"t.py::{name}", "failed" if name == "test_bad" else "passed", 1.0))
    assert (watch.tests, watch.failed) == (3, None)
    with pytest.raises(trial._Enough):
        watch.take(Result("t.py::test_other", "failed", 1.0))


def test_a_test_is_asked_once_whether_it_passes_on_a_clean_kernel(made, monkeypatch):
    """Until its file changes, or code that it shares with others."""
    mutants, kernel, record = made
    monkeypatch.setattr(seen, "PROJECT", record.directory)
    detected = Verdict("A-1", DETECTED, test="t.py::test[edu]", seconds=7.0)

    def clean_kernels_asked(title: str) -> int:
        text = mutants[0].path.read_text()
        mutants[0].path.write_text(text + f"// {title}\n")
        bench = Bench({"A-1": detected})
        list(judging.verdicts(bench, mutants[:1], kernel, record))
        return [name for name, _ in bench.asked].count(CLEAN)

    # The first of them is the one that comes before the first mutant.
    assert [clean_kernels_asked(title) for title in ("a", "b")] == [2, 0]
    (record.directory / "t.py").write_text("def test(): ...")
    assert [clean_kernels_asked(title) for title in ("c", "d")] == [1, 0]
    (record.directory / "vfio_hw").mkdir()
    (record.directory / "vfio_hw" / "verdict.py").write_text("")
    assert [clean_kernels_asked(title) for title in ("e", "f")] == [1, 0]


def test_what_has_its_verdict_is_not_tried_again_unless_the_mutant_has_changed(made):
    mutants, kernel, record = made
    detected = Verdict("A-1", DETECTED, test="t.py::test[edu]")
    list(judging.verdicts(Bench({"A-1": detected}), mutants, kernel, record))
    again = Bench({})
    list(judging.verdicts(again, mutants, kernel, record))
    assert again.asked == []
    mutants[0].path.write_text(mutants[0].path.read_text() + "// other\n")
    verdicts = list(judging.verdicts(again, mutants, kernel, record))
    assert [name for name, _ in again.asked] == ["A-1"]
    assert verdicts[1].verdict == SURVIVED


def test_an_interrupted_run_keeps_what_it_has(made):
    mutants, kernel, record = made
    with pytest.raises(KeyboardInterrupt):
        list(judging.verdicts(Bench({"A-1": KeyboardInterrupt()}), mutants, kernel, record))
    assert [v.id for v in record.read()] == [CLEAN]


def test_the_test_that_saw_a_mutant_is_tried_first_the_next_time(made):
    mutants, kernel, record = made
    detected = Verdict("A-1", DETECTED, test="t.py::test[edu]")
    list(judging.verdicts(Bench({"A-1": detected}), mutants, kernel, record))
    assert seen.tests_of("A-1") == ("t.py::test[edu]",)


def test_a_mutant_that_this_kernel_can_not_show_is_not_tried(made, tmp_path):
    mutants, kernel, record = made
    (tmp_path / "config").write_text("CONFIG_VFIO=m\n")
    kernel = replace(kernel, config=tmp_path / "config")
    bench = Bench({})
    wanted = [replace(mutants[0], needs=name) for name in ("CONFIG_KASAN", "CONFIG_VFIO")]
    found = [v.verdict for v in judging.verdicts(bench, wanted, kernel, record)]
    assert found == [SURVIVED, UNFIT, SURVIVED]
    assert [name for name, _ in bench.asked] == [CLEAN, "A-1"]


def test_a_mutant_is_tried_on_its_machine_and_so_is_the_clean_kernel_for_it(made):
    mutants, kernel, record = made
    bench = Bench({"A-1": Verdict("A-1", DETECTED, test="t.py::test[edu]")})
    wanted = [replace(mutants[0], machine="noiommu")]
    found = [v.verdict for v in judging.verdicts(bench, wanted, kernel, record)]
    assert found == [SURVIVED, DETECTED]
    assert {name for name, _ in bench.asked} == {CLEAN, "A-1"}
    assert set(bench.machines) == {"noiommu"}
