"""This file checks that a function that a run takes off its bus is afterwards as it was.

What a rescan finds is another device to the kernel, of which nothing was set.
"""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from vfio_hw.host import journal, journals, sysfs
from vfio_hw.host.binding import bound_to
from vfio_hw.host.journal import Journal
from vfio_hw.host.mdev import created, type_by_id
from vfio_hw.host.pci import PciFunction

MATRIX = "tests_hw/race/test_matrix.py"
REMOVED = "VFIO_GROUP_GET_DEVICE_FD-against-pci_remove-{}=2"


@pytest.fixture
def raced(here, ended):
    """A run on a function, in which pairs are raced; what it said."""

    def run(function: PciFunction, pairs: str) -> str:
        process, _ = here(MATRIX, "--", f"--pairs={pairs}", device=function.address)
        status, said = ended(process)
        assert status == 0 and "1 passed, 0 failed" in said, said
        assert "left  " not in said and "failed  " not in said, said
        return said

    return run


def probes(function: PciFunction) -> int:
    """What its own driver has said of it so far."""
    log = subprocess.run(["dmesg"], capture_output=True, text=True, check=True, timeout=60).stdout
    return log.count(f"e1000e {function.address}")


def test_what_was_reserved_is_reserved_again(raced, before, card):
    """Its own driver, which is loaded, has not had it for a moment."""
    with bound_to(card):
        found = probes(card)
        assert found
        said = raced(card, REMOVED.format("e1000e"))
        assert (card.driver, card.driver_override) == ("vfio-pci", "vfio-pci"), said
        assert probes(card) == found


def test_what_has_a_driver_of_its_own_has_it_again(raced, before, state, card, edu, life):
    """And may sleep, as before: VFIO's driver forbids that when it lets go of it."""
    with life.set_to(card.path / "power/control", "auto"):
        said = raced(card, REMOVED.format("e1000e"))
        assert f"restored  {card} driver: 'vfio-pci' -> 'e1000e'" in said
        assert (card.driver, card.driver_override, edu.driver) == ("e1000e", None, None)
        assert state.names(journals.ENDING) == []
        assert sysfs.attribute(card.path / "power/control") == "auto"


def test_what_vfio_hw_bind_has_taken_is_given_back_by_unbind(command, raced, before, card):
    """A run that was told to drive it took it off its bus meanwhile."""
    assert command("bind", card)[0] == 0
    raced(card, REMOVED.format("e1000e"))
    assert card.driver == "vfio-pci"
    status, said = command("unbind", card)
    assert (status, card.driver, card.driver_override) == (0, "e1000e", None), said


def test_virtual_functions_of_what_was_removed_are_there_again(raced, before, life):
    physical = life.controller_with_virtual_functions()
    sysfs.write(physical.path / "sriov_numvfs", "1")
    try:
        (virtual,) = physical.virtual_functions()
        raced(physical, REMOVED.format("nvme"))
        assert physical.driver == "nvme" and physical.virtual_functions() == [virtual]
    finally:
        sysfs.write(physical.path / "sriov_numvfs", "0")


@pytest.mark.parametrize("power", ["auto", "on"])
def test_what_is_off_its_bus_when_a_run_is_killed_comes_back_as_it_was(
    command, before, state, card, power
):
    """Its driver sets whether it may sleep, and it is as it was after that."""
    with bound_to(card):
        sysfs.write(card.path / "power/control", power)
        child = os.fork()
        if child == 0:
            with journal.kept(Journal.begun(state, "run")):
                sysfs.write(card.path / "remove", "1")
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        assert not card.exists
        found = probes(card)
        status, said = command("restore")
        assert status == 0 and f"restored  {card} on its bus" in said, said
        assert (card.driver, card.driver_override) == ("vfio-pci", "vfio-pci")
        assert sysfs.attribute(card.path / "power/control") == power
        assert probes(card) == found and "left  " not in said
        assert sysfs.attribute(Path("/sys/bus/pci/drivers_autoprobe")) == "1"


def test_a_parent_whose_devices_are_somebody_elses_is_not_unloaded(raced, before, edu):
    unloading = "VFIO_GROUP_GET_DEVICE_FD-against-module_unload-mtty=1"
    with created(type_by_id("mtty-1")) as theirs:
        said = raced(edu, f"{unloading},{REMOVED.format('edu')}")
        assert theirs.exists and "it is done in a guest only" in said, said
