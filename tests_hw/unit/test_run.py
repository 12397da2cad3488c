"""This file checks what a run makes of its results: the exit status, and the words."""

import errno
import re

import pytest

from vfio_hw import onekernel as run
from vfio_hw import session
from vfio_hw.errors import HarnessError
from vfio_hw.report import terminal
from vfio_hw.report.events import Result
from vfio_hw.vm.losses import Supervised
from vfio_hw.watchdog import deadline_for

WHOLE = Supervised(guests=1, left=[], status=0)


def results(*verdicts: str) -> list[Result]:
    return [Result(f"t::{number}", verdict, 0.1) for number, verdict in enumerate(verdicts)]


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        (["passed", "skipped"], run.OK),
        (["passed", "failed", "error"], run.KERNEL_WRONG),
        (["passed", "error"], run.HARNESS_WRONG),
    ],
)
def test_the_exit_status_says_who_is_wrong(tmp_path, verdicts, status):
    assert run._ended(results(*verdicts), WHOLE, tmp_path) == status


def test_a_selection_that_matches_nothing_is_no_success(tmp_path):
    with pytest.raises(HarnessError, match="no test matches"):
        run._ended([], Supervised(1, [], run._PYTEST_NOTHING), tmp_path)


def test_a_pytest_that_broke_down_is_no_success_however_many_tests_passed(tmp_path):
    (tmp_path / "guest-1").mkdir()
    (tmp_path / "guest-1" / "output.log").write_text("ImportError: no such thing\n")
    with pytest.raises(HarnessError, match=r"status 3.*ImportError: no such thing"):
        run._ended(results("passed"), Supervised(1, [], 3), tmp_path)


def test_what_pytest_calls_wrong_usage_is_wrong_usage(tmp_path, capsys):
    (tmp_path / "guest-1").mkdir()
    said = "usage: pytest\nERROR: there is no PCI function 0000:00:1e.0\n  rootdir: /\n"
    (tmp_path / "guest-1" / "output.log").write_text(said)
    assert run._ended([], Supervised(1, [], run._PYTEST_USAGE), tmp_path) == run.USAGE
    assert "vfio-hw: there is no PCI function 0000:00:1e.0\n" in capsys.readouterr().err


def test_tests_that_no_guest_came_to_are_counted(tmp_path, capsys):
    left = Supervised(guests=3, left=["t::8", "t::9"], status=1)
    assert run._ended(results("failed"), left, tmp_path) == run.KERNEL_WRONG
    assert "2 not run" in capsys.readouterr().out


def test_too_many_lost_guests_are_told_in_words_with_how_to_go_on(tmp_path, capsys):
    lost = Supervised(3, ["t::8", "t::9"], None, "3 guests were lost")
    words = f"3 guests were lost; for the 2 tests not run go on with: .* --resume {tmp_path}"
    for verdict in ("passed", "error"):
        with pytest.raises(HarnessError, match=words):
            run._ended(results(verdict), lost, tmp_path)
    assert run._ended(results("failed"), lost, tmp_path) == run.KERNEL_WRONG
    assert re.search(words, capsys.readouterr().err)


@pytest.mark.parametrize("budget", [1.0, 86400.0])
def test_a_guest_lives_longer_than_any_of_its_tests_may(budget):
    deadline = deadline_for(budget)
    assert run.deadlines(deadline).whole > run.deadlines(deadline).silence > deadline


def test_a_run_of_skips_alone_is_no_success(tmp_path):
    with pytest.raises(HarnessError, match="nothing was judged"):
        run._ended(results("skipped", "skipped"), WHOLE, tmp_path)


def test_a_known_fault_in_the_last_guest_is_a_success(tmp_path):
    after_it = Supervised(guests=2, left=[], status=2)
    assert run._ended(results("passed", "known"), after_it, tmp_path) == run.OK


def test_a_guest_without_a_status_is_no_success(tmp_path):
    dead = Supervised(guests=1, left=[], status=None)
    (tmp_path / "guest-1").mkdir()
    (tmp_path / "guest-1" / "output.log").touch()
    with pytest.raises(HarnessError, match="status None"):
        run._ended(results("known", "passed"), dead, tmp_path)


def test_the_essence_of_a_failure_is_what_pytest_marks():
    text = "some source\nE   AssertionError: removed while open\nE   assert 0 is None\nmore"
    assert list(terminal.essence(text)) == [
        "AssertionError: removed while open",
        "assert 0 is None",
    ]


def test_a_summary_says_how_many_races_nobody_met_in(tmp_path, capsys):
    """Their rounds went one after the other, so what they judged is no race."""
    met = Result("t.py::met", "passed", 0.1, properties={"edges": [], "met": 3})
    missed = Result("t.py::missed", "passed", 0.1, properties={"edges": [], "met": 0})
    terminal.summary([*results("passed"), met, missed], tmp_path, [])
    assert "1 of 2 races were none: nobody met anybody" in (said := capsys.readouterr().out)
    assert "t.py::missed" in said and "3 passed" in said
    terminal.summary([*results("passed"), met], tmp_path, [])
    assert "races" not in capsys.readouterr().out


def test_a_full_disk_ends_a_run_with_what_goes_on_with_it(tmp_path):
    with (
        pytest.raises(HarnessError, match=f"no space left .*--resume {tmp_path}"),
        run.roomy(tmp_path),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError), run.roomy(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_a_results_directory_is_never_shared(tmp_path):
    with pytest.raises(HarnessError, match="exists already"):
        session.results_directory(tmp_path)
