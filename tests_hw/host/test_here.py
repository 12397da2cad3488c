"""This file checks runs on this machine: whatever ends them, the machine is as it was before."""

import os
import select
import signal
import subprocess
from pathlib import Path

import pytest

from vfio_hw.errors import Unsupported
from vfio_hw.host import lock, modules
from vfio_hw.host import shared as shared_place
from vfio_hw.host.journals import ENDING
from vfio_hw.plugin import IN_GUEST
from vfio_hw.report.events import EventLog
from vfio_hw.report.known import killer, known_finds

QUICK = "tests_hw/pci/test_planted.py::test_quick"
DEADLY = (
    "tests_hw/lifecycle/test_last_put.py"
    "::test_a_parent_is_there_until_the_close_that_lets_it_go_is_over"
)
# A busy machine takes many times what an idle one does; what stays is not to be taken for hung.
_DEADLINE = 300.0

pytestmark = pytest.mark.usefixtures("planted")


def test_a_run_takes_what_it_was_given_and_gives_it_back(here, state, ended):
    """Whatever the environment says: that this is a guest, or that it has the lock."""
    process, results = here(QUICK, **{IN_GUEST: "1", lock.VARIABLE: "0"})
    status, said = ended(process)
    assert (status, "1 passed, 0 failed" in said) == (0, True), said
    (result,) = EventLog(results / "events.jsonl").results()
    assert (result.test, result.verdict) == (QUICK, "passed")
    assert state.names(ENDING) == [] and state.text("running") is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_and_everything_is_given_back(
    here, state, edu, number, ended, running_pytest
):
    process, _ = here("tests_hw/pci/test_planted.py::test_stays")
    running_pytest()
    assert edu.driver == "vfio-pci"
    process.send_signal(number)
    status, said = ended(process)
    assert (status, edu.driver, state.names(ENDING)) == (130, None, []), said


def test_a_killed_run_is_given_back_by_its_pytest(here, state, edu, running_pytest):
    process, _ = here("tests_hw/pci/test_planted.py::test_stays")
    pid = os.pidfd_open(running_pytest())
    process.kill()
    assert select.select([pid], [], [], _DEADLINE)[0]
    os.close(pid)
    assert (edu.driver, edu.driver_override, state.names(ENDING)) == (None, None, [])


def test_a_killed_pytest_is_given_back_by_its_run(here, state, edu, ended, running_pytest):
    process, _ = here("tests_hw/pci/test_planted.py::test_stays")
    os.kill(running_pytest(), signal.SIGKILL)
    status, said = ended(process)
    assert status == 3 and f"restored  {edu} driver: 'vfio-pci' -> ''" in said, said
    assert (edu.driver, state.names(ENDING)) == (None, [])


def test_what_both_leave_when_they_are_killed_is_given_back_by_the_next_run(
    here, state, edu, ended, running_pytest
):
    process, _ = here("tests_hw/pci/test_planted.py::test_stays")
    pid = running_pytest()
    process.send_signal(signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    process.kill()
    process.wait()
    assert edu.driver == "vfio-pci" and len(state.names(ENDING)) == 2
    process, _ = here(QUICK)
    status, said = ended(process)
    assert status == 0 and f"restored  {edu} driver: 'vfio-pci' -> ''" in said, said


def test_two_runs_at_once_are_one_too_many(here, ended, running_pytest):
    first, _ = here("tests_hw/pci/test_planted.py::test_stays")
    running_pytest()
    status, said = ended(here(QUICK)[0])
    assert status == 3 and "the lock of this machine" in said and f"pid {first.pid} (" in said
    first.terminate()
    ended(first)


def test_after_a_splat_the_kernel_gets_no_further_test_unless_asked(here, state, ended):
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
    # It is every user's, too.
    (shared_place.PLACE / "marks/distrusted-0").unlink()


def test_a_kernel_is_not_given_what_it_is_known_to_die_of(here, ended):
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


def test_a_device_in_use_is_not_taken(here, card, interface, ended):
    subprocess.run(
        ["ip", "address", "add", "192.0.2.1/24", "dev", interface], check=True, timeout=60
    )
    try:
        status, said = ended(here(QUICK, device=card.address)[0])
    finally:
        subprocess.run(["ip", "address", "flush", "dev", interface], check=True, timeout=60)
    assert status == 3 and f"{interface} has the address 192.0.2.1/24 [address]" in said
