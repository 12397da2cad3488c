"""This file checks runs on this machine: whatever ends them, the machine is as it was before."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vfio_hw.errors import Unsupported
from vfio_hw.host import modules
from vfio_hw.host.journal import ENDING
from vfio_hw.host.state import VARIABLE
from vfio_hw.plugin import IN_GUEST
from vfio_hw.report.events import EventLog
from vfio_hw.report.known import killer, known_finds
from vfio_hw.session import PROJECT

PLANTED = PROJECT / "tests_hw/pci/test_planted.py"
QUICK = "tests_hw/pci/test_planted.py::test_quick"
DEADLY = (
    "tests_hw/lifecycle/test_last_put.py"
    "::test_a_parent_is_there_until_the_close_that_lets_it_go_is_over"
)
TESTS = """
    import os, signal, time
    from pathlib import Path
    from vfio_hw.host.journal import ENDING
    from vfio_hw.host.state import directory

    def test_quick(edu):
        assert edu.driver == "vfio-pci"
        assert (directory() / "running").read_text().count("test_quick") == 1
        assert len(list(directory().glob("*" + ENDING))) == 1

    def test_stays(edu):
        Path("/tmp/stays").write_text(str(os.getpid()))
        time.sleep(3600)

    def test_warns(edu):
        Path("/sys/kernel/debug/provoke-crash/DIRECT").write_text("WARNING")

    def test_after(edu):
        Path("/tmp/after").touch()
"""
COMMAND = [sys.executable, "-m", "vfio_hw", "run", "--here"]
# A busy machine takes many times what an idle one does; what stays is not to be taken for hung.
_DEADLINE = 300.0


@pytest.fixture(autouse=True)
def planted(life):
    """Tests that only this guest has, and the machine as it must be after each test."""
    PLANTED.write_text("\n".join(line[4:] for line in TESTS.splitlines()))
    for name in ("stays", "after"):
        Path("/tmp", name).unlink(missing_ok=True)
    before = life.machine()
    yield
    assert life.machine() == before
    PLANTED.unlink()


@pytest.fixture
def here(state, tmp_path, edu):
    """Starts vfio-hw run --here on the edu; the process, and its results."""
    started = []

    def start(*words: str, device: str = edu.address) -> tuple[subprocess.Popen[str], Path]:
        results = tmp_path / f"results-{len(started)}"
        environment = {key: value for key, value in os.environ.items() if key != IN_GUEST}
        process = subprocess.Popen(
            [
                *COMMAND,
                f"--device={device}",
                f"--results={results}",
                "--test-deadline=1000",
                *words,
            ],
            cwd=PROJECT,
            env={**environment, VARIABLE: str(state.path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process, results

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = process.communicate(timeout=_DEADLINE)
    return process.returncode, said


def running_pytest() -> int:
    """The pid of the pytest that is in test_stays, once it is."""
    end = time.monotonic() + _DEADLINE
    while time.monotonic() < end:
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int(Path("/tmp/stays").read_text())
        time.sleep(0.1)
    raise AssertionError("test_stays did not begin")


def test_a_run_takes_what_it_was_given_and_gives_it_back(here, state):
    process, results = here(QUICK)
    status, said = ended(process)
    assert (status, "1 passed, 0 failed" in said) == (0, True), said
    (result,) = EventLog(results / "events.jsonl").results()
    assert (result.test, result.verdict) == (QUICK, "passed")
    assert state.names(ENDING) == [] and state.text("running") is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_and_everything_is_given_back(here, state, edu, number):
    process, _ = here("tests_hw/pci/test_planted.py::test_stays")
    running_pytest()
    assert edu.driver == "vfio-pci"
    process.send_signal(number)
    status, said = ended(process)
    assert (status, edu.driver, state.names(ENDING)) == (130, None, []), said


def test_a_killed_run_is_given_back_by_its_pytest(here, state, edu):
    process, _ = here("tests_hw/pci/test_planted.py::test_stays")
    pid = os.pidfd_open(running_pytest())
    process.kill()
    assert select.select([pid], [], [], _DEADLINE)[0]
    os.close(pid)
    assert (edu.driver, edu.driver_override, state.names(ENDING)) == (None, None, [])


def test_a_killed_pytest_is_given_back_by_its_run(here, state, edu):
    process, _ = here("tests_hw/pci/test_planted.py::test_stays")
    os.kill(running_pytest(), signal.SIGKILL)
    status, said = ended(process)
    assert status == 3 and f"restored  {edu} driver: 'vfio-pci' -> ''" in said, said
    assert (edu.driver, state.names(ENDING)) == (None, [])


def test_what_both_leave_when_they_are_killed_is_given_back_by_the_next_run(here, state, edu):
    process, _ = here("tests_hw/pci/test_planted.py::test_stays")
    pid = running_pytest()
    process.send_signal(signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    process.kill()
    process.wait()
    assert edu.driver == "vfio-pci" and len(state.names(ENDING)) == 1
    process, _ = here(QUICK)
    status, said = ended(process)
    assert status == 0 and f"restored  {edu} driver: 'vfio-pci' -> ''" in said, said


def test_two_runs_at_once_are_one_too_many(here):
    first, _ = here("tests_hw/pci/test_planted.py::test_stays")
    running_pytest()
    status, said = ended(here(QUICK)[0])
    assert status == 3 and "the lock of this machine" in said and f"pid {first.pid} (" in said
    first.terminate()
    ended(first)


def test_after_a_splat_the_kernel_gets_no_further_test_unless_asked(here, state):
    modules.load("lkdtm")
    process, results = here("tests_hw/pci/test_planted.py", "--", "-k", "warns or after")
    status, said = ended(process)
    assert (status, Path("/tmp/after").exists()) == (1, False), said
    assert [each.verdict for each in EventLog(results / "events.jsonl").results()] == ["failed"]
    status, said = ended(here(QUICK)[0])
    assert status == 3 and "this kernel is given no further test" in said
    status, said = ended(here("--after-splat", QUICK)[0])
    assert status == 0, said
    state.remove("distrusted")


def test_a_kernel_is_not_given_what_it_is_known_to_die_of(here):
    """It is given the rest."""
    if not killer(DEADLY, os.uname().release, known_finds()):
        raise Unsupported(f"{os.uname().release} is not known to die of {DEADLY}")
    process, results = here(DEADLY, QUICK)
    status, said = ended(process)
    assert status == 0, said
    found = {each.test: each for each in EventLog(results / "events.jsonl").results()}
    assert found[QUICK].verdict == "passed"
    assert found[DEADLY].verdict == "skipped"
    assert "parent-unloaded-before-last-put.md; --fatal runs it" in found[DEADLY].text


def test_a_device_in_use_is_not_taken(here, card, interface):
    subprocess.run(
        ["ip", "address", "add", "192.0.2.1/24", "dev", interface], check=True, timeout=60
    )
    try:
        status, said = ended(here(QUICK, device=card.address)[0])
    finally:
        subprocess.run(["ip", "address", "flush", "dev", interface], check=True, timeout=60)
    assert status == 3 and f"{interface} has the address 192.0.2.1/24 [address]" in said
