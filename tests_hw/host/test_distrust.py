"""This file checks that a kernel which oopses, or hangs, in a test is blamed, and given no other.

On a machine of somebody's own an oops ends the process, not the machine: here too.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vfio_hw.here import running
from vfio_hw.host import modules, shared
from vfio_hw.host.journals import ENDING
from vfio_hw.plugin import IN_GUEST
from vfio_hw.report.events import EventLog
from vfio_hw.session import PROJECT

PLANTED = PROJECT / "tests_hw/pci/test_planted.py"
TESTS = """
import os, signal
from pathlib import Path

import pytest

CRASHES = Path("/sys/kernel/debug/provoke-crash/DIRECT")

def test_quick(edu):
    assert edu.driver == "vfio-pci"

@pytest.mark.parametrize("how", ["EXCEPTION", "BUG"])
def test_oopses(edu, how):
    CRASHES.write_text(how)

def test_has_a_child_that_hangs(edu):
    child = os.fork()
    if child == 0:
        os.closerange(0, 1 << 16)  # the machine's lock, say
        CRASHES.write_text("HUNG_TASK")
    os.waitpid(child, 0)

def test_kills_itself(edu):
    os.kill(os.getpid(), signal.SIGKILL)
"""
TEST = "tests_hw/pci/test_planted.py::"
# What the kernel does after an oops; after how long it tells of a task that waits, again and again.
_SWITCHES = {"panic_on_oops": "0", "hung_task_timeout_secs": "0"}
_SOFT_LOCKUP = 1 << 14
_PATIENCE = 400.0  # seconds


@pytest.fixture(autouse=True, scope="module")
def tolerant():
    """The kernel goes on after an oops, and is silent about a task that waits."""
    modules.load("lkdtm")
    switches = {Path("/proc/sys/kernel", name): value for name, value in _SWITCHES.items()}
    before = {path: path.read_text() for path in switches}
    for path, value in switches.items():
        path.write_text(value)
    PLANTED.write_text(TESTS)
    yield
    PLANTED.unlink()
    for path, value in before.items():
        path.write_text(value)


@pytest.fixture
def here(state, tmp_path, edu):
    """Runs vfio-hw run --here on the edu: exit status, results, what it said."""
    runs = 0

    def run(test: str, *words: str) -> tuple[int, list, str]:
        nonlocal runs
        runs += 1
        results = tmp_path / f"results-{runs}"
        line = [sys.executable, "-m", "vfio_hw", "run", "--here", f"--device={edu}", *words]
        ended = subprocess.run(
            [*line, f"--results={results}", f"{TEST}{test}"],
            cwd=PROJECT,
            env={key: value for key, value in os.environ.items() if key != IN_GUEST},
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
        record = results / "events.jsonl"
        found = EventLog(record).results() if record.exists() else []
        return ended.returncode, found, ended.stdout + ended.stderr

    yield run
    # What every user's runs heed is in no directory of state: to the next test this kernel is new.
    for mark in (shared.PLACE / "marks").glob("distrusted-*"):
        mark.unlink()


def gets_no_other_test(here) -> None:
    status, found, said = here("test_quick")
    assert (status, found) == (3, []) and "this kernel is given no further test" in said, said


@pytest.mark.parametrize(
    "how, title",
    [
        ("EXCEPTION", "BUG: unable to handle kernel NULL pointer dereference in lkdtm_EXCEPTION"),
        ("BUG", "kernel BUG in lkdtm_BUG"),
    ],
)
def test_an_oops_that_ends_pytest_is_the_kernels(here, state, edu, how, title):
    status, (result,), said = here(f"test_oopses[{how}]", "--test-deadline=1000")
    assert status == 1, said
    assert (result.verdict, result.oracle) == ("failed", "kernel log")
    assert result.findings == [f"kernel log: {title}"] and f"lkdtm_{how}" in result.text
    assert (edu.driver, state.names(ENDING)) == (None, []), said
    gets_no_other_test(here)
    if how == "BUG":
        status, _, said = here("test_quick", "--after-splat", "--test-deadline=1000")
        assert status == 0, said


def test_a_fault_that_no_run_has_noted_is_remembered_by_the_kernel(here):
    """It has come in a run that nobody has survived, or between two."""
    assert here("test_quick", "--test-deadline=1000")[0] == 0
    Path("/proc/sys/kernel/tainted").write_text(str(_SOFT_LOCKUP))
    status, _, said = here("test_quick")
    assert status == 3 and "since the first run: soft lockup: this kernel is given no" in said, said


def test_a_pytest_that_only_ends_itself_says_nothing_of_the_kernel(here, state):
    status, (result,), said = here("test_kills_itself", "--test-deadline=1000")
    assert (status, result.verdict, result.oracle) == (3, "error", "exit"), said
    running.must_be_trusted(state)


def test_a_test_that_hangs_in_the_kernel_is_the_kernels(here, edu, state):
    status, (result,), said = here("test_has_a_child_that_hangs", "--test-deadline=40")
    assert status == 1, said
    assert (result.verdict, result.oracle) == ("failed", "hang")
    assert "state D" in result.text and "lkdtm" in result.text
    assert (edu.driver, state.names(ENDING)) == (None, []), said
    gets_no_other_test(here)
