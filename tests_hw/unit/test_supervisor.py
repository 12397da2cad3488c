"""This file checks the verdict that a guest's end gives to what was going on in it."""

import pytest

from tests_hw.unit.conftest import SESSION, STARTED, WARNING, finished
from vfio_hw.vm.machine import Ending


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


def test_a_panic_at_boot_is_a_verdict_of_its_own(supervised):
    (result,) = supervised(([], "Kernel panic - not syncing: x", Ending.PANICKED, None))
    assert (result.test, result.verdict, result.oracle) == ("boot of guest 1", "failed", "panic")


def test_a_guest_that_does_not_end_after_its_verdict_gets_no_other(supervised):
    unusable = {"event": "unusable", "text": "a hangs"}
    first = ([SESSION, STARTED, finished("a", "hang: it"), unusable], WARNING, Ending.HUNG, None)
    second = ([SESSION, finished("b")], "", Ending.EXITED, 0)
    assert [result.test for result in supervised(first, second)] == ["a", "b"]


def test_a_guest_that_hangs_after_a_good_test_is_told(supervised):
    first = ([SESSION, STARTED, finished("a")], "", Ending.HUNG, None)
    second = ([SESSION, finished("b")], "", Ending.EXITED, 0)
    assert [result.test for result in supervised(first, second)] == ["a", "after a", "b"]


def test_a_test_that_lost_its_guest_took_its_own_time_not_the_guest_s(supervised):
    results = supervised(
        ([SESSION, STARTED], "Kernel panic - not syncing: x", Ending.PANICKED, None),
        ([SESSION, finished("b")], "", Ending.EXITED, 0),
    )
    assert results[0].test == "a"
    assert results[0].seconds < 0.5  # the guest had run for a second


RESET = ([SESSION, STARTED], "", Ending.RESET, None)


def test_a_test_that_asked_for_a_reset_and_got_it_has_passed(supervised):
    rest = ([SESSION, finished("b")], "", Ending.EXITED, 0)
    results = supervised(RESET, rest, most_lost=1)
    assert [(r.test, r.verdict, r.oracle) for r in results] == [
        ("a", "passed", ""),
        ("b", "passed", "kernel log"),
    ]
    assert results[0].text == "what happened"


def test_a_run_whose_last_test_asked_for_a_reset_ends_well(supervised):
    supervised(([SESSION, finished("b"), STARTED], "", Ending.RESET, None))
    assert supervised.ended.status == 0


def test_a_reset_excuses_no_splat(supervised):
    (result,) = supervised(([SESSION, STARTED], WARNING, Ending.RESET, None))
    assert (result.test, result.verdict, result.oracle) == ("a", "failed", "kernel log")
    assert result.findings == ["kernel log: WARNING in made_up"]


def test_a_reset_that_no_test_has_asked_for_is_an_error(supervised):
    (result,) = supervised(([SESSION], "", Ending.RESET, None))
    assert (result.test, result.verdict) == ("guest 1", "error")
