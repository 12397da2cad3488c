"""This file checks what a run on this machine takes: whole groups, once, and nothing in use."""

import os
import signal
import subprocess
import sys
import time

import pytest

from vfio_hw.host import lock
from vfio_hw.host.descendants import descendants
from vfio_hw.host.journals import ENDING
from vfio_hw.host.state import VARIABLE
from vfio_hw.plugin import IN_GUEST
from vfio_hw.session import PROJECT

QUICK = "tests_hw/pci/test_planted.py::test_quick"
_DEADLINE = 300.0

pytestmark = pytest.mark.usefixtures("planted")


def test_no_further_signal_disturbs_what_is_given_back(
    here, state, edu, ended, running_pytest, said_in
):
    process, _ = here("tests_hw/pci/test_planted.py::test_lingers")
    pid = running_pytest()
    process.send_signal(signal.SIGINT)
    said_in("lingers", "")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        process.send_signal(number)
        os.kill(pid, number)
        time.sleep(0.2)
    status, said = ended(process)
    assert (status, edu.driver, state.names(ENDING)) == (130, None, []), said
    assert "restoring; " in said and "Traceback" not in said, said


def test_the_whole_group_is_taken_for_the_run(here, shared, ended):
    """Its network card has its own driver before and after."""
    edu, card = shared
    process, _ = here("tests_hw/pci/test_planted.py::test_whole", device=edu.address)
    status, said = ended(process)
    assert status == 0 and f"restored  {card} driver: 'vfio-pci' -> 'e1000e'" in said, said
    assert card.driver == "e1000e"


def test_what_somebody_uses_by_now_is_not_taken_again(here, state, card, ended):
    """A test has given the card to its own driver, and its interface was given an address."""
    planted = "tests_hw/pci/test_planted.py::test_comes_back"
    status, said = ended(here(planted, device=card.address)[0])
    interface = next(each.name for each in descendants(card.path) if each.subsystem == "net")
    shown = ["ip", "-brief", "address", "show", "dev", interface]
    told = subprocess.run(shown, capture_output=True, text=True, check=True, timeout=60).stdout
    subprocess.run(["ip", "address", "flush", "dev", interface], check=True, timeout=60)
    assert status == 3 and f"{card} is left to e1000e, as it is" in said, said
    assert "0 passed, 0 failed, 1 error" in said, "no leak of the kernel's"
    assert "192.0.2.1/24" in told and state.names(ENDING) == [], said


def test_pytest_by_hand_is_as_safe(state, edu, card, interface):
    """It takes the group and gives it back, and takes nothing that the machine stands on."""
    environment = {key: value for key, value in os.environ.items() if key != IN_GUEST}
    environment |= {VARIABLE: str(state.path), lock.VARIABLE: "0"}
    line = [sys.executable, "-m", "pytest", "-q", QUICK, "--test-deadline=1000"]
    told = {}
    subprocess.run(["ip", "address", "add", "192.0.2.1/24", "dev", interface], check=True)
    for function in (edu, card):
        done = subprocess.run(
            [*line, f"--device={function}"],
            cwd=PROJECT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_DEADLINE,
        )
        told[function] = done.returncode, done.stdout + done.stderr
    subprocess.run(["ip", "address", "flush", "dev", interface], check=True)
    assert told[edu][0] == 0 and f"restored  {edu} driver: 'vfio-pci' -> ''" in told[edu][1], told
    assert told[card][0] == 4 and "[address]" in told[card][1] and card.driver == "e1000e", told
    assert state.names(ENDING) == []
