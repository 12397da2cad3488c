"""This file checks what becomes of a device that can not be given back, or was half taken."""

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from vfio_hw.here import binding, earlier
from vfio_hw.here.leftovers import leftovers
from vfio_hw.host import journal, restore, sysfs
from vfio_hw.host.forked import forked
from vfio_hw.host.held import Held
from vfio_hw.host.inventory import functions
from vfio_hw.host.journal import Journal
from vfio_hw.host.journals import ENDING
from vfio_hw.host.lock import machine_locked
from vfio_hw.host.process import process_state
from vfio_hw.host.state import State
from vfio_hw.host.writer import unfinished
from vfio_hw.vfio.opened import opened

_DEADLINE = 60.0


@contextlib.contextmanager
def child(does):
    """A fork of this process does it inside; yields its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            does()
        finally:
            os._exit(1)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def until(what) -> None:
    end = time.monotonic() + _DEADLINE
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def holding(function, mode):
    """What a process does that has the device open."""

    def life(ready):
        with opened(function.address, mode):
            ready()

    return life


@pytest.mark.parametrize("mode", ["vfio_type1v2_iommu", "iommufd"])
def test_what_is_open_is_not_given_back(command, before, writes, card, edu, mode):
    command("bind", card.address, edu.address)
    writes.clear()
    with forked(holding(card, mode)) as pid:
        status, said = command("unbind", edu.address, card.address)
        assert (status, writes) == (3, [])
        assert f"{card} is open in pid {pid} (" in said and "end that process" in said
        status, said = command("restore")
        assert status == 3 and f"restored  {edu} driver: 'vfio-pci' -> ''" in said
        assert f"failed    {card} driver: it is open in pid {pid} (" in said
        assert "then vfio-hw restore" in said and (card.driver, edu.driver) == ("vfio-pci", None)
    status, said = command("unbind", card.address)
    assert status == 0, said


def test_what_is_opened_meanwhile_holds_nobody_else_up(command, before, state, card, monkeypatch):
    """The write that the kernel does not let go has the lock no longer, and is told."""
    command("bind", card.address)
    monkeypatch.setattr(restore, "_DEADLINE", 3.0)
    with forked(holding(card, "vfio_type1v2_iommu")) as pid:
        looked, real = [], Held.target

        def looks(held, target):
            """The device is opened after the look that comes before the write."""
            looked.append(target)
            return [] if len(looked) == 1 else real(held, target)

        with monkeypatch.context() as patch:
            patch.setattr(Held, "target", looks)
            status, said = command("restore")
        (writer,) = unfinished()
        assert status == 3 and "/driver/unbind did not return within" in said
        assert f"pid {writer.pid} (" in said and said.count(f"it is open in pid {pid} (") == 2
        with machine_locked(State()):
            pass
        status, said = command("restore")
        assert status == 3 and f"it is open in pid {pid} (" in said
        assert [each.pid for each in unfinished()] == [writer.pid]
    until(lambda: not list(unfinished()))
    assert command("restore")[0] == 0


def test_a_write_that_outlives_its_killed_command_is_told(
    command, before, life, state, card, monkeypatch
):
    """It has the lock still, as it may change the machine yet; and who is to be ended is told."""
    command("bind", card.address)
    monkeypatch.setattr(binding, "_PATIENCE", 1.0)

    def restores():
        monkeypatch.setattr(Held, "target", lambda held, target: [])
        command("restore")

    with forked(holding(card, "vfio_type1v2_iommu")) as pid:
        with child(restores):
            until(lambda: card.driver is None)
        status, said = command("restore")
        assert status == 3 and "the lock of this machine" in said
        assert f"go while a device is open; end who has it open: pid {pid} (" in said
    with machine_locked(state, life.PATIENCE):
        pass
    assert command("restore")[0] == 0


def test_a_rollback_that_fails_is_told(command, before, monkeypatch, card):
    """The card is opened while the bridge, which nothing takes, is waited for."""
    monkeypatch.setattr(binding, "_DEADLINE", 15.0)
    bridge = next(each for each in functions() if each.class_code >> 8 == 0x0604)

    def opens():
        until(lambda: card.driver == "vfio-pci")
        with opened(card.address, "iommufd"):
            time.sleep(600)

    with child(opens) as pid:
        status, said = command("bind", card, bridge, "--force", bridge)
        assert status == 3 and f"vfio-pci was offered {bridge} and did not bind it" in said
        assert f"vfio-hw: failed    {card} driver: it is open in pid {pid} (" in said
        assert card.driver == "vfio-pci"
    status, said = command("restore")
    assert status == 0 and f"restored  {card} driver" in said


def test_no_signal_cuts_a_rollback_short(command, before, monkeypatch, state, card):
    monkeypatch.setattr(binding, "_DEADLINE", 10.0)
    bridge = next(each for each in functions() if each.class_code >> 8 == 0x0604)
    looks = Held.target

    def disturbed(held, target):
        os.kill(os.getpid(), signal.SIGINT)
        return looks(held, target)

    with monkeypatch.context() as patch:
        patch.setattr(Held, "target", disturbed)
        status, said = command("bind", card, bridge, "--force", bridge)
    assert status == 3 and "did not bind it within 10 s" in said
    assert (card.driver, state.names(ENDING)) == ("e1000e", [])


@pytest.mark.parametrize("by", ["restore", "the next run", "the next bind"])
def test_a_bind_that_was_killed_is_left_over(command, before, life, state, shared, card, by):
    """Half a group is bound, which no one is to take for what somebody wanted."""

    class Kills:
        def before(self, path, text):
            if path.name == "drivers_probe" and text == shared[1].address:
                os.kill(os.getpid(), signal.SIGKILL)

        def after(self, token, *, made):
            pass

    def binds():
        sysfs.keepers.append(Kills())
        command("bind", shared[0].address)

    with child(binds) as pid:
        until(lambda: process_state(pid).state == "Z")
    with machine_locked(state, life.PATIENCE):  # until the child that wrote for it has ended
        assert [each.driver for each in shared] == ["vfio-pci", None]
    (told,) = leftovers()
    assert told.name == "leftovers" and f"pid {pid}, vfio-hw bind, has left" in told.reason
    if by == "restore":
        assert command("restore")[0] == 0
    elif by == "the next run":
        assert {each.word for each in earlier.undone(state)} == {"restored"}
    else:
        status, said = command("bind", card.address)
        assert status == 0 and f"restored  {shared[0]} driver" in said
        (told,) = leftovers()
        assert told.name == "bound" and card.address in told.reason
        command("unbind", card.address)
    assert state.names(ENDING) == []


def test_what_an_administrator_has_removed_stays_away(command, state, before, shared, card):
    """A function that a run has removed comes back, and no other."""
    kept = Journal.begun(state, "run")
    with journal.kept(kept):
        sysfs.write(shared[1].path / "remove", "1")
    kept.close()
    (card.path / "remove").write_text("1")
    status, said = command("restore")
    assert status == 0 and f"restored  {shared[1]} on its bus" in said
    assert shared[1].exists and not card.exists
    Path("/sys/bus/pci/rescan").write_text("1")
    until(lambda: card.driver and shared[1].driver)


def test_a_function_that_is_gone_is_told_and_left(command, state, before, card):
    command("bind", card.address)
    (card.path / "remove").write_text("1")
    status, said = command("restore")
    assert (status, said.count("it went away since")) == (0, 2)
    assert not card.exists and state.names(ENDING) == []
    Path("/sys/bus/pci/rescan").write_text("1")
    until(lambda: card.driver == "e1000e")


def test_virtual_functions_of_the_same_group_go_and_come_back(command, before, life):
    physical = life.controllers_with_virtual_functions()[1]
    sysfs.write(physical.path / "sriov_numvfs", "2")
    try:
        virtual = physical.virtual_functions()
        assert set(virtual) <= set(physical.siblings())
        status, said = command("bind", virtual[0].address)
        assert status == 3 and "its physical function is in the same IOMMU group" in said
        _, planned = command("bind", physical.address, "--dry-run")
        assert not any(each.address in planned for each in virtual)
        status, said = command("bind", physical.address)
        assert (status, physical.driver, physical.virtual_functions()) == (0, "vfio-pci", []), said
        assert f"{virtual[0]}: gone with its physical function" in said
        status, said = command("unbind", physical.address)
        assert (status, physical.driver, physical.virtual_functions()) == (0, "nvme", virtual), said
    finally:
        sysfs.write(physical.path / "sriov_numvfs", "0")
