"""This file kills bind, unbind and whole runs at random moments: restore undoes what they leave.

Of the kills of test_killed.py a quarter each for bind and unbind, and a tenth for runs.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from vfio_hw.cli import main
from vfio_hw.here import earlier
from vfio_hw.host import sysfs
from vfio_hw.host.binding import set_driver_override
from vfio_hw.host.journals import ENDING
from vfio_hw.host.lock import machine_locked
from vfio_hw.host.process import of_family, tasks
from vfio_hw.host.state import VARIABLE
from vfio_hw.plugin import IN_GUEST
from vfio_hw.session import PROJECT

KILLS = int(os.environ.get("VFIO_HW_KILLS", "20"))
TEST = "tests_hw/contract/test_argsz.py::test_infos_of_a_device_mind_their_argsz[edu]"
_DEADLINE = 300.0


@pytest.fixture
def given_back(command, life, state):
    """``vfio-hw restore``, until nothing is left over; how much was put back."""
    before = life.machine()

    def restore(patience: float = life.PATIENCE) -> int:
        with machine_locked(state, patience):
            pass  # a last write, or the pytest of a run, has ended
        status, said = command("restore")
        assert status == 0 and "left   " not in said, said
        assert life.machine() == before, said
        assert command("restore") == (0, "nothing is left over\n") and state.names(ENDING) == []
        return said.count("restored  ")

    return restore


@pytest.mark.parametrize("word", ["bind", "unbind"])
def test_a_killed_command_is_undone(command, life, given_back, card, shared, word):
    addresses = [card.address, shared[0].address]

    def begun() -> int:
        if word == "unbind":
            assert command("bind", *addresses)[0] == 0
        return life.forked(lambda: main([word, *addresses]))

    child, began = begun(), time.monotonic()
    assert life.ended(child) == 0
    seconds = time.monotonic() - began
    assert bool(given_back()) is (word == "bind")
    chance, put_back = random.Random(2), 0
    for _ in range(KILLS // 4):
        child = begun()
        time.sleep(chance.uniform(0.0, seconds))
        os.kill(child, signal.SIGKILL)
        life.ended(child)
        put_back += given_back() > 0
    assert put_back, "no kill came while something was changed"


def test_what_a_killed_unbind_has_set_for_a_moment_is_undone(command, life, state, before, card):
    """The override names the old driver while that is given back, which nobody has wanted."""
    set_driver_override(card, "vfio-pci")
    try:
        assert command("bind", card)[0] == 0

        class Kills:
            def before(self, path, text):
                if path.name == "drivers_probe":
                    os.kill(os.getpid(), signal.SIGKILL)

            def after(self, token, *, made):
                pass

        def unbinds():
            sysfs.keepers.append(Kills())
            main(["unbind", card.address])

        assert life.ended(life.forked(unbinds)) == signal.SIGKILL
        with machine_locked(state, life.PATIENCE):
            assert (card.driver, card.driver_override) == (None, "e1000e")
            said = [str(each) for each in earlier.undone(state)]
        assert (card.driver, card.driver_override) == ("e1000e", "vfio-pci"), said
        assert state.names(ENDING) == [], said
    finally:
        set_driver_override(card, None)


def test_a_killed_run_is_undone(state, tmp_path, given_back, edu):
    """Every second time its pytest is killed with it, and every other child."""
    environment = {key: value for key, value in os.environ.items() if key != IN_GUEST}

    def begun(number: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "vfio_hw", "run", "--here", f"--device={edu}", TEST),
                f"--results={tmp_path / str(number)}",
            ],
            cwd=PROJECT,
            env={**environment, VARIABLE: str(state.path)},
            stdin=subprocess.DEVNULL,
        )

    began = time.monotonic()
    assert begun(0).wait(_DEADLINE) == 0
    seconds = time.monotonic() - began
    assert given_back() == 0
    chance = random.Random(3)
    for number in range(1, 1 + max(2, KILLS // 10)):
        run = begun(number)
        time.sleep(chance.uniform(0.0, seconds))
        run.send_signal(signal.SIGSTOP)
        killed = {each.pid for each in of_family(run.pid, tasks())} if number % 2 else {run.pid}
        for pid in killed:
            with contextlib.suppress(ProcessLookupError):  # only the run itself is stopped
                os.kill(pid, signal.SIGKILL)
        run.wait(_DEADLINE)
        given_back(_DEADLINE)
