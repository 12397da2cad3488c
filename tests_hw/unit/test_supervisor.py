"""This file checks the verdict that a guest's end gives to what was going on in it."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from vfio_hw.errors import MachineLost
from vfio_hw.oracle.splats import splats
from vfio_hw.report.events import EventLog, Result
from vfio_hw.vm import machine, supervisor
from vfio_hw.vm.machine import Deadlines, Ending, GuestRun
from vfio_hw.vm.progress import restored
from vfio_hw.vm.supervisor import Supervisor

WARNING = """\
[    2.0] ------------[ cut here ]------------
[    2.0] WARNING: drivers/vfio/made_up.c:7 at made_up+0x10/0x20, CPU#0: python3/36
[    2.0] Call Trace:
[    2.0]  made_up+0x10/0x20
[    2.0] ---[ end trace 0000000000000000 ]---
"""
SESSION = {"event": "session", "tests": ["a", "b"]}
STARTED = {"event": "started", "test": "a"}
UNUSABLE = {"event": "unusable", "text": "why"}


def finished(test: str, *findings: str) -> dict:
    verdict = "failed" if findings else "passed"
    return Result(test, verdict, 0.1, "", "kernel log", {}, list(findings)).as_event()


def replaced(thing, **changes):
    """The guest stays what it is: it is never booted."""
    return thing if isinstance(thing, machine.Guest) else replace(thing, **changes)


@pytest.fixture
def supervised(tmp_path, monkeypatch):
    """Plays guests that send these events, print this and end so; returns their results."""

    def play(
        *guests: tuple[list[dict], str, Ending, int | None],
        judge: Callable[[Result], Result] = lambda result: result,
        most_lost: int | None = None,
        before: list[dict] | None = None,
        aside: dict[str, Callable] | None = None,
    ) -> list[Result]:
        script = iter(guests)

        def run(guest, out, *, deadlines, on_event, on_output, stop) -> GuestRun:
            events, console, ending, status = next(script)
            for event in events:
                on_event(event)
            (out / "console.log").write_text(console)
            return GuestRun(ending, status, 1.0, out / "console.log", "what happened")

        monkeypatch.setattr(machine, "run", run)
        log = EventLog(tmp_path / "events.jsonl")
        log.path.touch()
        guest = machine.Guest(tmp_path, None, None, [])
        monkeypatch.setattr(supervisor, "replace", replaced)
        play.ended = Supervisor(
            guest,
            tmp_path / "out",
            log,
            deadlines=Deadlines(),
            judge=judge,
            splats=splats,
            on_result=lambda result: None,
            on_output=lambda data: None,
            most_lost=most_lost or len(guests),
            progress=restored(before or []),
            aside=aside,
        ).run()
        return log.results()

    return play


def test_what_is_set_aside_goes_to_its_guest_s_directory_and_not_into_the_record(
    supervised, tmp_path
):
    taken = []
    aside = {"coverage": lambda directory, event: taken.append((directory.name, event["archive"]))}
    dies = [SESSION, {"event": "coverage", "archive": "1"}, STARTED]
    ends = [SESSION, finished("b"), {"event": "coverage", "archive": "2"}]
    supervised(
        (dies, "Kernel panic", Ending.PANICKED, None), (ends, "", Ending.EXITED, 0), aside=aside
    )
    assert taken == [("guest-1", "1"), ("guest-2", "2")]
    assert "archive" not in (tmp_path / "events.jsonl").read_text()


def test_a_hang_is_the_running_tests(supervised):
    (result,) = supervised(([SESSION, STARTED], "", Ending.HUNG, None))
    assert (result.test, result.verdict, result.oracle) == ("a", "failed", "hang")
    assert "what happened" in result.text


def test_a_splat_on_the_console_explains_a_dead_guest(supervised):
    (result,) = supervised(([SESSION, STARTED], WARNING, Ending.PANICKED, None))
    assert (result.test, result.oracle) == ("a", "panic")
    assert result.findings == ["kernel log: WARNING in made_up"]


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


def test_a_guest_too_slow_to_begin_does_not_tell_against_the_kernel(supervised):
    (result,) = supervised(([], "", Ending.HUNG, None))
    assert (result.test, result.verdict) == ("boot of guest 1", "error")


def test_a_kernel_that_warned_before_it_began_is_told_against(supervised):
    (result,) = supervised(([], WARNING, Ending.HUNG, None))
    assert (result.test, result.verdict) == ("boot of guest 1", "failed")


def test_a_death_between_two_tests_is_told_with_the_one_before(supervised):
    first = ([SESSION, STARTED, finished("a")], "", Ending.PANICKED, None)
    second = ([SESSION, finished("b")], "", Ending.EXITED, 0)
    assert [result.test for result in supervised(first, second)] == ["a", "after a", "b"]


def test_a_process_killed_after_a_splat_tells_against_the_kernel(supervised):
    (result,) = supervised(([SESSION, STARTED], WARNING, Ending.EXITED, 137))
    assert (result.verdict, result.oracle) == ("failed", "kernel log")


@pytest.mark.parametrize(("status", "verdict"), [(128 + 9, "error"), (128 + 7, "failed")])
def test_a_process_killed_without_one_depends_on_the_signal(supervised, status, verdict):
    (result,) = supervised(([SESSION, STARTED], "", Ending.EXITED, status))
    assert result.verdict == verdict


def test_a_splat_that_no_test_tells_of_fails_the_guest(supervised):
    whole = [SESSION, finished("a"), finished("b")]
    *_, result = supervised((whole, WARNING, Ending.EXITED, 0))
    assert (result.test, result.verdict) == ("guest 1, outside of the tests", "failed")


def test_a_splat_that_a_test_told_of_is_told_once(supervised):
    whole = [SESSION, finished("a", "kernel log: WARNING in made_up"), finished("b")]
    results = supervised((whole, WARNING, Ending.EXITED, 0))
    assert [result.test for result in results] == ["a", "b"]


def test_what_one_guest_has_told_does_not_hush_the_next(supervised):
    told = finished("a", "kernel log: WARNING in made_up")
    first = ([SESSION, told, {"event": "unusable", "text": "a warns"}], WARNING, Ending.EXITED, 0)
    second = ([SESSION, finished("b")], WARNING, Ending.EXITED, 0)
    names = [result.test for result in supervised(first, second)]
    assert names == ["a", "b", "guest 2, outside of the tests"]


def test_a_guest_that_dies_before_its_first_test_has_not_its_predecessors_last(supervised):
    first = ([SESSION, STARTED, finished("a")], "", Ending.PANICKED, None)
    second = ([SESSION], "", Ending.PANICKED, None)
    assert [result.test for result in supervised(first, second)] == ["a", "after a", "guest 2"]


def test_the_end_of_qemu_tells_against_the_kernel_with_a_splat(supervised):
    (result,) = supervised(([SESSION, STARTED], WARNING, Ending.CUT_OFF, None))
    assert (result.test, result.verdict) == ("a", "failed")


CUT_OFF = ([SESSION, STARTED], "", Ending.CUT_OFF, None)
WHOLE = ([SESSION, STARTED, finished("a"), finished("b")], "", Ending.EXITED, 0)


def test_a_test_under_which_qemu_ended_runs_again(supervised):
    results = supervised(CUT_OFF, CUT_OFF, WHOLE, most_lost=9)
    assert [(r.test, r.verdict) for r in results] == [("a", "passed"), ("b", "passed")]


def test_a_test_that_killed_three_guests_is_not_tried_again(supervised):
    rest = ([SESSION, finished("b")], "", Ending.EXITED, 0)
    results = supervised(CUT_OFF, CUT_OFF, CUT_OFF, rest, most_lost=9)
    assert [(r.test, r.verdict) for r in results] == [("a", "error"), ("b", "passed")]
    assert "what happened" in results[0].text


def test_a_guest_that_was_killed_before_it_said_its_tests_costs_nothing(supervised):
    early = ([], "", Ending.CUT_OFF, None)
    assert [r.test for r in supervised(early, WHOLE, most_lost=2)] == ["a", "b"]


def test_guests_that_are_always_killed_early_end_the_run(supervised):
    early = ([], "", Ending.CUT_OFF, None)
    with pytest.raises(MachineLost, match=r"2 guests were lost .*: what happened"):
        supervised(early, early)


def test_a_panic_at_boot_is_a_verdict_of_its_own(supervised):
    (result,) = supervised(([], "Kernel panic - not syncing: x", Ending.PANICKED, None))
    assert (result.test, result.verdict, result.oracle) == ("boot of guest 1", "failed", "panic")


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


def test_a_guest_that_does_not_end_after_its_verdict_gets_no_other(supervised):
    unusable = {"event": "unusable", "text": "a hangs"}
    first = ([SESSION, STARTED, finished("a", "hang: it"), unusable], WARNING, Ending.HUNG, None)
    second = ([SESSION, finished("b")], "", Ending.EXITED, 0)
    assert [result.test for result in supervised(first, second)] == ["a", "b"]


def test_a_guest_that_hangs_after_a_good_test_is_told(supervised):
    first = ([SESSION, STARTED, finished("a")], "", Ending.HUNG, None)
    second = ([SESSION, finished("b")], "", Ending.EXITED, 0)
    assert [result.test for result in supervised(first, second)] == ["a", "after a", "b"]


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


def test_a_test_that_lost_its_guest_took_its_own_time_not_the_guest_s(supervised):
    results = supervised(
        ([SESSION, STARTED], "Kernel panic - not syncing: x", Ending.PANICKED, None),
        ([SESSION, finished("b")], "", Ending.EXITED, 0),
    )
    assert results[0].test == "a"
    assert results[0].seconds < 0.5  # the guest had run for a second
