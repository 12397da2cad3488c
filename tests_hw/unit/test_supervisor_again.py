"""This file checks which tests run again when a guest has died, and when that is the end of all."""

from dataclasses import replace

import pytest

from tests_hw.unit.conftest import SESSION, STARTED, UNUSABLE, WARNING, WHOLE, finished
from vfio_hw.errors import MachineLost
from vfio_hw.host.timers import STOPPED
from vfio_hw.oracle.splats import splats
from vfio_hw.report.events import Result
from vfio_hw.vm.losses import MOST_LOST
from vfio_hw.vm.machine import Ending

CUT_OFF = ([SESSION, STARTED], "", Ending.CUT_OFF, None)


STALL = """\
[   50.0] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:
[   50.0] rcu: \t(detected by 0, t=5252 jiffies, g=6541, q=56 ncpus=2)
{why}[   50.0] Call Trace:
[   50.0]  schedule+0x23/0x90
"""
TIMER = "[   50.0] rcu: rcu_sched kthread timer wakeup didn't happen for 5251 jiffies! g6541\n"


def test_a_processor_that_stalled_tells_against_the_kernel(supervised):
    (result,) = supervised(([SESSION, STARTED], STALL.format(why=""), Ending.HUNG, None))
    assert (result.test, result.verdict) == ("a", "failed")


def test_a_timer_that_stopped_is_the_emulators_fault_and_the_test_runs_again(supervised):
    stalled = ([SESSION, STARTED], STALL.format(why=TIMER), Ending.HUNG, None)
    whole = ([SESSION, finished("a"), finished("b")], "", Ending.EXITED, 0)
    results = supervised(stalled, whole, most_lost=1)
    assert [(result.test, result.verdict) for result in results] == [
        ("a", "passed"),
        ("b", "passed"),
    ]


def test_a_hang_beside_a_timer_that_stopped_is_the_emulators_fault_too(supervised):
    told = Result("a", "failed", 9.0, f"hang: x\nthe timer of processor 1 {STOPPED}", "hang")
    first = ([SESSION, STARTED, told.as_event(), UNUSABLE], "", Ending.EXITED, 1)
    second = ([SESSION, finished("a"), finished("b")], "", Ending.EXITED, 0)
    results = supervised(first, second)
    assert [(result.test, result.verdict) for result in results] == [
        ("a", "passed"),
        ("b", "passed"),
    ]


def test_what_is_not_told_of_a_test_that_runs_again_is_not_told_of_its_guest(supervised):
    """The report that stands on the console is the one that the test was put off for."""
    splat, said = STALL.format(why=TIMER), splats(STALL.format(why=TIMER).splitlines())
    told = Result("a", "failed", 0.1, splat, "kernel log", {}, [f"kernel log: {said[0].title}"])
    first = ([SESSION, STARTED, told.as_event(), UNUSABLE], splat, Ending.EXITED, 1)
    second = ([SESSION, finished("a"), finished("b")], "", Ending.EXITED, 0)
    results = supervised(first, second)
    assert [(result.test, result.verdict) for result in results] == [
        ("a", "passed"),
        ("b", "passed"),
    ]


def test_a_test_that_stops_the_timer_again_is_not_tried_a_third_time(supervised):
    stalled = ([SESSION, STARTED], STALL.format(why=TIMER), Ending.HUNG, None)
    rest = ([SESSION, finished("b")], "", Ending.EXITED, 0)
    results = supervised(stalled, stalled, rest)
    assert [(result.test, result.verdict) for result in results] == [
        ("a", "error"),
        ("b", "passed"),
    ]


def test_a_test_under_which_qemu_ended_runs_again(supervised):
    results = supervised(CUT_OFF, CUT_OFF, WHOLE, most_lost=9)
    assert [(r.test, r.verdict) for r in results] == [("a", "passed"), ("b", "passed")]


def test_a_test_that_killed_three_guests_is_not_tried_again(supervised):
    rest = ([SESSION, finished("b")], "", Ending.EXITED, 0)
    results = supervised(CUT_OFF, CUT_OFF, CUT_OFF, rest, most_lost=MOST_LOST)
    assert [(r.test, r.verdict) for r in results] == [("a", "error"), ("b", "passed")]
    assert "what happened" in results[0].text


def test_guests_that_are_ended_from_outside_cost_nothing_however_many(supervised):
    """Such is one that has run for as long as a guest may."""
    tests = [f"t{number}" for number in range(20)]
    session = {"event": "session", "tests": tests}

    def guest(number, started):
        events = [session, finished(tests[number])]
        running = [{**STARTED, "test": tests[number + 1]}] if started else []
        return ([*events, *running], "", Ending.CUT_OFF, None)

    cut = [guest(number, started=number % 2 == 0) for number in range(19)]
    whole = ([session, finished(tests[19])], "", Ending.EXITED, 0)
    results = supervised(*cut, whole, most_lost=MOST_LOST)
    assert [(r.test, r.verdict) for r in results] == [(test, "passed") for test in tests]


def test_tests_that_are_not_tried_again_end_the_run_when_they_are_too_many(supervised):
    session = {"event": "session", "tests": ["a", "b", "c"]}
    deadly = [([session, {**STARTED, "test": each}], "", Ending.CUT_OFF, None) for each in "aaabbb"]
    results = supervised(*deadly, most_lost=2)
    assert [(r.test, r.verdict) for r in results] == [("a", "error"), ("b", "error")]
    assert supervised.ended.left == ["c"]
    assert supervised.ended.why.startswith("2 guests were lost")
    assert "what happened" in supervised.ended.why


def test_a_guest_that_was_killed_before_it_said_its_tests_costs_nothing(supervised):
    early = ([], "", Ending.CUT_OFF, None)
    assert [r.test for r in supervised(early, WHOLE, most_lost=2)] == ["a", "b"]


def test_guests_that_are_always_killed_early_end_the_run(supervised):
    early = ([], "", Ending.CUT_OFF, None)
    with pytest.raises(MachineLost, match=r"2 guests were lost .*: what happened"):
        supervised(early, early)


def test_a_supervisor_goes_on_where_another_was_killed(supervised):
    log = [
        {"event": "guest", "number": 1},
        SESSION,
        STARTED,
        finished("a"),
        {**STARTED, "test": "b"},
    ]
    rest = ([{**SESSION, "tests": ["b"]}, finished("b")], "", Ending.EXITED, 0)
    assert [r.test for r in supervised(rest, before=log)] == ["b"]


def test_a_harness_that_a_test_has_killed_three_times_does_not_try_it_again(supervised):
    killed = [{"event": "guest", "number": 1}, SESSION, STARTED, {"event": "resumed"}]
    rest = ([SESSION, finished("b")], "", Ending.EXITED, 0)
    results = supervised(rest, before=killed * 3)
    assert [(r.test, r.verdict) for r in results] == [("a", "error"), ("b", "passed")]


def test_a_run_that_was_interrupted_has_cost_its_tests_no_attempt(supervised):
    ctrl_c = [{"event": "guest", "number": 1}, SESSION, STARTED, {"event": "interrupted"}]
    whole = ([SESSION, finished("a"), finished("b")], "", Ending.EXITED, 0)
    results = supervised(whole, before=ctrl_c * 3)
    assert [result.verdict for result in results] == ["passed", "passed"]


def test_a_supervisor_that_finds_all_verdicts_given_boots_nothing(supervised):
    assert supervised(before=[SESSION, finished("a"), finished("b")]) == []


@pytest.mark.parametrize(("verdict", "judged"), [("known", ["a", "b"]), ("failed", ["a"])])
def test_a_panic_that_is_known_costs_a_guest_and_counts_as_none_lost(supervised, verdict, judged):
    def judge(result: Result) -> Result:
        return replace(result, verdict=verdict) if result.oracle == "panic" else result

    first = ([SESSION, STARTED], WARNING, Ending.PANICKED, None)
    second = ([SESSION, finished("b")], "", Ending.EXITED, 0)
    results = supervised(first, second, judge=judge, most_lost=1)
    assert [result.test for result in results] == judged


def test_a_guest_that_a_known_fault_has_killed_last_of_all_ends_the_run_well(supervised):
    def judge(result: Result) -> Result:
        return replace(result, verdict="known") if result.verdict == "failed" else result

    dead = ([SESSION, finished("b"), STARTED], WARNING, Ending.PANICKED, None)
    supervised(dead, judge=judge)
    assert supervised.ended.status == 0


def test_a_guest_that_another_fault_has_killed_last_of_all_does_not(supervised):
    supervised(([SESSION, finished("b"), STARTED], WARNING, Ending.PANICKED, None))
    assert supervised.ended.status is None


def test_a_guest_that_does_not_boot_where_others_did_is_one_that_is_lost(supervised):
    died = ([SESSION, STARTED], WARNING, Ending.PANICKED, None)
    silent = ([], "", Ending.NO_BOOT, None)
    rest = ([SESSION, finished("b")], "", Ending.EXITED, 0)
    results = supervised(died, silent, rest)
    assert [result.test for result in results] == ["a", "b"]
