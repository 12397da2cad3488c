"""This file checks that --dry-run tells each write that is made without it, and makes none."""

import os
import re
import signal

import pytest

from vfio_hw.host import journal, journals, sysfs
from vfio_hw.host.binding import bound_to, rebind, set_driver_override
from vfio_hw.host.forked import forked
from vfio_hw.host.inventory import functions
from vfio_hw.host.journal import Journal
from vfio_hw.host.journals import ENDING
from vfio_hw.host.mdev import type_by_id
from vfio_hw.vfio.opened import opened


def lines(writes: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """These, of each path what follows the last name of a function: it can be entered two ways."""
    return [(re.sub(r".*/(?=[0-9a-f]{4}:[0-9a-f]{2}:)", "", path), text) for path, text in writes]


def told(said: str) -> tuple[list[tuple[str, str]], set[str]]:
    """The writes that were told of, and the paths of those of which only later can be told."""
    later = re.findall(r"^later +(/.*): set to", said, re.MULTILINE)
    words = [each for each in said.splitlines() if not each.startswith("later ")]
    found = [re.fullmatch(r"write '(.*)' to (/.*)", each) for each in words]
    assert all(found), said
    writes = lines([(each[2], each[1]) for each in found if each])
    return writes, {path for path, _ in lines([(path, "") for path in later])}


@pytest.fixture
def dry(command, writes):
    """What a command tells of its writes in advance, and those of them that it makes then."""

    def run(*words):
        del writes[:]
        status, said = command(*words, "--dry-run")
        assert (status, writes) == (0, []), said
        planned, later = told(said)
        status, said = command(*words)
        assert status == 0, said
        return planned, [each for each in lines(writes) if each[0] not in later]

    return run


def test_a_group_is_bound_and_given_back_as_was_told(before, dry, shared):
    planned, made = dry("bind", shared[1])
    assert planned == made and len(made) == 5
    planned, made = dry("unbind", shared[1])
    assert planned == made and len(made) == 7
    assert [each.driver for each in shared] == [None, "e1000e"]


def test_what_was_set_before_is_given_back_as_was_told(before, dry, card):
    """An override, and that the card may sleep."""
    power = sysfs.attribute(card.path / "power/control")
    set_driver_override(card, "e1000e")
    sysfs.write(card.path / "power/control", "auto")
    try:
        planned, made = dry("bind", card)
        assert planned == made
        planned, made = dry("unbind", card)
        assert planned == made
        assert sysfs.attribute(card.path / "power/control") == "auto"
    finally:
        set_driver_override(card, None)
        sysfs.write(card.path / "power/control", power)


def test_virtual_functions_are_given_back_as_was_told(before, dry, life):
    physical = life.controller_with_virtual_functions()
    sysfs.write(physical.path / "sriov_numvfs", "2")
    try:
        planned, made = dry("bind", physical)
        assert planned == made and any("numvfs" in path for path, _ in made)
        planned, made = dry("unbind", physical)
        assert planned == made and any("numvfs" in path for path, _ in made)
    finally:
        sysfs.write(physical.path / "sriov_numvfs", "0")


def test_what_a_killed_run_has_left_is_undone_as_was_told(before, life, state, dry, card, edu):
    """The card off its bus, the edu bound, a mediated device: in two journals, of a bind too."""
    dry("bind", card)

    def lives():
        with journal.kept(Journal.begun(state, "run")):
            sysfs.write(card.path / "remove", "1")
            set_driver_override(edu, "vfio-pci")
            type_by_id("mtty-1").create()
            os.kill(os.getpid(), signal.SIGKILL)

    life.ended(life.forked(lives))
    assert not card.exists
    planned, made = dry("restore")
    assert planned == made and any("rescan" in path for path, _ in made)
    assert (card.driver, edu.driver_override) == ("e1000e", None)


def test_virtual_functions_of_what_is_off_its_bus_are_told(before, life, state, dry):
    physical = life.controller_with_virtual_functions()
    sysfs.write(physical.path / "sriov_numvfs", "1")
    try:

        def lives():
            with journal.kept(Journal.begun(state, "run")), bound_to(physical):
                sysfs.write(physical.path / "remove", "1")
                os.kill(os.getpid(), signal.SIGKILL)

        life.ended(life.forked(lives))
        assert not physical.exists
        planned, made = dry("restore")
        assert planned == made and made[-1] == (f"{physical}/sriov_numvfs", "1")
    finally:
        sysfs.write(physical.path / "sriov_numvfs", "0")


def test_what_is_left_of_another_boot_hinders_no_bind(command, state, writes, card, edu):
    """Nothing of it is undone, so what bind writes can be told."""
    assert command("bind", edu)[0] == 0
    (name,) = state.names(ENDING)
    path = state.path / name
    path.write_text(path.read_text().replace(journals.boot(), "another"))
    del writes[:]
    status, said = command("bind", card, "--dry-run")
    assert (status, writes) == (0, []) and "the machine was booted since" in said
    planned, _ = told("\n".join(line for line in said.splitlines() if line.startswith("write ")))
    assert command("bind", card)[0] == 0 and lines(writes) == planned != []
    assert command("unbind", card)[0] == 0
    rebind(edu, None)
    set_driver_override(edu, None)


def test_what_is_left_over_is_told_before_a_bind(command, before, life, state, writes, card, edu):
    """It is undone first, and what the bind writes depends on that."""

    def lives():
        with journal.kept(Journal.begun(state, "run")):
            set_driver_override(edu, "vfio-pci")
            os.kill(os.getpid(), signal.SIGKILL)

    life.ended(life.forked(lives))
    del writes[:]
    status, said = command("bind", card, "--dry-run")
    assert (status, writes) == (0, []) and "vfio-hw restore" in said
    assert f"{edu}/driver_override" in said and str(card) not in said
    assert edu.driver_override == "vfio-pci"
    assert command("restore")[0] == 0
    status, said = command("bind", card, "--dry-run", "--driver", "nosuch")
    assert status == 3 and "there is no PCI driver nosuch" in said


def test_what_can_not_be_given_back_is_told(command, before, writes, card):
    """And nothing is written, or noted: what is done after is done whole."""
    command("bind", card)

    def holding(ready):
        with opened(card.address, "iommufd"):
            ready()

    with forked(holding) as pid:
        del writes[:]
        for words in (["restore"], ["unbind", card]):
            status, said = command(*words, "--dry-run")
            assert status == 3 and f"pid {pid} (" in said and writes == []
    assert command("unbind", card)[0] == 0
    assert card in functions() and card.driver == "e1000e"
