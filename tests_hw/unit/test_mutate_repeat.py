"""This file checks that a failure that does not happen again, or is no news, detects no mutant."""

from dataclasses import replace

import pytest

from tests_hw.unit.conftest import WARNING, Bench
from vfio_hw.mutate import judging, seen
from vfio_hw.mutate.control import Control
from vfio_hw.mutate.record import CLEAN, DETECTED, SURVIVED, UNCLEAR, Verdict
from vfio_hw.report.events import EventLog, Result

TEST = "t.py::test[edu]"
FAILED = Verdict("A-1", DETECTED, test=TEST, tests=9, text="said so")


class Repeats(Bench):
    """A mutant fails at first; ``alone`` and ``after`` say whether it does when it is repeated."""

    def __init__(self, told, alone=True, after=True, clean=SURVIVED, report="") -> None:
        super().__init__(told)
        self.fails, self.clean, self.report = {True: alone, False: after}, clean, report

    def tried(self, name, modules, order, out, unsound=(), enough=None) -> Verdict:
        found = super().tried(name, modules, order, out, unsound, enough)
        if self.report and name != CLEAN:
            result = Result(TEST, "failed", 1.0, self.report, "kernel log")
            EventLog(out / "events.jsonl").write(result.as_event())
        if enough is None:
            return found
        alone = order.tests == (TEST,)
        if name == CLEAN:
            return found if alone else replace(found, verdict=self.clean, test=TEST)
        return found if self.fails[alone] else Verdict(name, SURVIVED, tests=9, passed=9)

    def names(self) -> list[str]:
        return [name for name, _ in self.asked]


def judged(made, bench: Bench) -> Verdict:
    mutants, kernel, record = made
    return list(judging.verdicts(bench, mutants[:1], kernel, record))[1]


@pytest.mark.parametrize(
    ("alone", "after", "clean", "verdict", "again"),
    [
        (True, False, SURVIVED, DETECTED, "alone"),
        (False, True, SURVIVED, DETECTED, "after the same tests"),
        (False, True, DETECTED, UNCLEAR, ""),
        (False, True, UNCLEAR, UNCLEAR, ""),
        (False, False, SURVIVED, UNCLEAR, ""),
    ],
)
def test_a_failure_counts_when_it_happens_again(made, alone, after, clean, verdict, again):
    """What takes the tests before it has to pass after them on a clean kernel."""
    bench = Repeats({"A-1": FAILED}, alone, after, clean)
    found = judged(made, bench)
    assert (found.verdict, found.again) == (verdict, again)
    asked = [CLEAN, "A-1", CLEAN, "A-1"] + ([] if alone else ["A-1"])
    assert bench.names() == asked + [CLEAN] * (after and not alone)
    assert seen.tests_of("A-1") == ((TEST,) if verdict == DETECTED else ())
    assert verdict == DETECTED or found.text.endswith("; it had said: said so")


def test_what_was_the_first_test_is_repeated_once(made):
    bench = Repeats({"A-1": replace(FAILED, tests=1)}, alone=False)
    assert judged(made, bench).verdict == UNCLEAR
    assert bench.names() == [CLEAN, "A-1", CLEAN, "A-1"]


def test_what_is_no_test_has_to_happen_again_after_the_same_tests(made):
    """A guest that was silent after it had collected, say."""
    silent = Verdict("A-1", DETECTED, test="guest 1", oracle="hang", tests=1)
    assert judged(made, Repeats({"A-1": silent})).again == "after the same tests"
    made[0][0].path.write_text(made[0][0].path.read_text() + "// other\n")
    bench = Repeats({"A-1": silent}, after=False)
    assert judged(made, bench).verdict == UNCLEAR
    assert bench.names() == ["A-1", "A-1"]


def test_a_failure_that_was_repeated_before_is_not_repeated_again(made):
    """Unless the mutant has changed meanwhile."""
    mutants, kernel, record = made
    list(judging.verdicts(Repeats({"A-1": FAILED}), mutants[:1], kernel, record))
    (record.directory / "mutants.jsonl").write_text("{}\n")
    bench = Repeats({"A-1": FAILED}, alone=False, after=False)
    assert judged(made, bench).again == "earlier"
    assert bench.names() == [CLEAN, "A-1"]
    mutants[0].path.write_text(mutants[0].path.read_text() + "// other\n")
    assert judged(made, bench).verdict == UNCLEAR


@pytest.mark.parametrize("oracle", ["hang", "leaks", "interrupt"])
def test_what_may_come_of_others_needs_a_clean_kernel_under_this_test_alone(made, oracle):
    """That it passed among others says little; that it passed alone is asked once."""
    mutants, kernel, record = made
    bench = Bench({})
    Control(bench, kernel, judging._Judging(bench, kernel, record)._fresh).take(
        [Result(TEST, "passed", 1.0)], False
    )
    bench = Repeats({"A-1": replace(FAILED, oracle=oracle)})
    assert judged(made, bench).verdict == DETECTED
    assert bench.names() == [CLEAN, "A-1", CLEAN, "A-1"]
    mutants[0].path.write_text(mutants[0].path.read_text() + "// other\n")
    assert judged(made, bench).verdict == DETECTED
    assert bench.names()[4:] == ["A-1", "A-1"]


@pytest.mark.parametrize(
    ("defined", "title", "again"),
    [
        ("int made_up(int a)\n{\n}\n", "", "by name"),
        ("static int __must_check made_up(int a)\n{\n}\n", "", "by name"),
        ("int other(int a)\n{\n\tmade_up(a);\n}\n", "", "alone"),
        ("int made_up(int a)\n{\n}\n", "INFO: task python3:36 blocked for more than 20 s", "alone"),
    ],
)
def test_a_report_of_the_changed_code_needs_no_repeat(made, defined, title, again):
    """A report of time that has passed does: a busy host may bring it about."""
    mutants, kernel, _ = made
    source = kernel.objects / mutants[0].file
    source.parent.mkdir(parents=True)
    source.write_text(defined)
    lines = WARNING.splitlines()
    report = "\n".join([title, *lines[2:]] if title else lines)
    bench = Repeats({"A-1": replace(FAILED, oracle="kernel log")}, report=report)
    assert judged(made, bench).again == again
    assert bench.names() == [CLEAN, "A-1", CLEAN] + ["A-1"] * (again == "alone")


@pytest.mark.parametrize("verdict", ["failed", "known"])
def test_a_test_that_failed_on_a_clean_kernel_is_no_witness_though_it_passed(made, verdict):
    _, kernel, record = made
    bench = Bench({})
    fresh = judging._Judging(bench, kernel, record)._fresh
    control = Control(bench, kernel, fresh)
    control.take([Result(TEST, "passed", 1.0), Result("t.py::test_b", "passed", 1.0)], False)
    assert control.of(FAILED, judging.Order()) == (True, "")
    control.take([Result(TEST, verdict, 1.0)], False)
    assert control.of(FAILED, judging.Order()) == (False, "")
    assert seen.sound_tests(kernel, bench.conditions(False)) == {"t.py::test_b"}


def test_a_recorded_detection_by_what_has_failed_on_a_clean_kernel_since_does_not_stand(made):
    mutants, kernel, record = made
    assert judged(made, Repeats({"A-1": FAILED})).verdict == DETECTED
    log = EventLog(record.directory / "clean-0" / "events.jsonl")
    log.write(Result(TEST, "failed", 1.0).as_event())
    bench = Bench({})
    found = list(judging.verdicts(bench, mutants[:1], kernel, record))[1]
    assert [name for name, _ in bench.asked] == ["A-1"]
    assert found.verdict == SURVIVED


def test_what_failed_on_a_recorded_clean_kernel_is_none_when_the_run_goes_on(made):
    mutants, kernel, record = made

    class Red(Repeats):
        def tried(self, name, modules, order, out, unsound=(), enough=None) -> Verdict:
            found = super().tried(name, modules, order, out, unsound, enough)
            if name != CLEAN:
                raise KeyboardInterrupt
            EventLog(out / "events.jsonl").write(Result(TEST, "failed", 1.0).as_event())
            return replace(found, verdict=DETECTED, test=TEST)

    with pytest.raises(KeyboardInterrupt):
        list(judging.verdicts(Red({}), mutants[:1], kernel, record))
    bench = Bench({"A-1": FAILED})
    judge = judging._Judging(bench, kernel, record)
    next(judge.verdicts(mutants[:1]))
    assert judge._control(mutants[0]).unsound == {TEST}
    assert bench.asked == []


@pytest.mark.parametrize("name", ["clean-test", "clean-same-again-1"])
def test_so_is_what_failed_when_a_clean_kernel_was_asked(made, name):
    mutants, kernel, record = made
    (record.directory / name).mkdir()
    EventLog(record.directory / name / "events.jsonl").write(Result(TEST, "failed", 1.0).as_event())
    judge = judging._Judging(Bench({}), kernel, record)
    assert judge._control(mutants[0]).unsound == {TEST}


def test_a_clean_kernel_that_fails_on_one_machine_says_nothing_of_another(made):
    """Neither in this run nor when it goes on."""
    mutants, kernel, record = made
    elsewhere = replace(mutants[0], id="A-2", machine="vga")
    bench = Repeats({"A-1": FAILED, "A-2": replace(FAILED, id="A-2")})

    def found() -> dict[str, str]:
        both = judging.verdicts(bench, [mutants[0], elsewhere], kernel, record)
        return {v.id: v.verdict for v in both if v.id != CLEAN}

    assert found() == {"A-1": DETECTED, "A-2": DETECTED}
    (failed,) = record.directory.glob("clean-1@vga/events.jsonl")
    EventLog(failed).write(Result(TEST, "failed", 1.0).as_event())
    bench.told["A-2"] = Verdict("A-2", SURVIVED, tests=3, passed=3)
    bench.asked.clear()
    assert found() == {"A-1": DETECTED, "A-2": SURVIVED}
    assert bench.names() == ["A-2"]
