"""This file checks that bind takes whole groups or nothing, and that all comes back as it was."""

import json
import subprocess
import uuid
from pathlib import Path

import pytest

from vfio_hw.here import binding
from vfio_hw.host import journal, journals, sysfs
from vfio_hw.host.binding import bound_to, rebind, set_driver_override
from vfio_hw.host.forked import forked
from vfio_hw.host.inventory import functions
from vfio_hw.host.journal import Journal
from vfio_hw.host.journals import ENDING
from vfio_hw.host.lock import machine_locked
from vfio_hw.host.mdev import Mdev, type_by_id
from vfio_hw.host.restore import restore
from vfio_hw.host.state import State


def test_a_function_is_taken_and_comes_back_exactly(command, before, card):
    status, said = command("bind", card.address)
    assert (status, card.driver, card.driver_override) == (0, "vfio-pci", "vfio-pci")
    assert f"{card}: e1000e -> vfio-pci, IOMMU group {card.iommu_group}" in said
    status, said = command("unbind", card.address)
    assert (status, "'vfio-pci' -> 'e1000e'" in said) == (0, True), said
    assert (card.driver, card.driver_override) == ("e1000e", None)


def test_an_override_that_was_there_comes_back(command, card):
    set_driver_override(card, "e1000e")
    try:
        command("bind", card.address)
        assert card.driver == "vfio-pci"
        command("unbind", card.address)
        assert (card.driver, card.driver_override) == ("e1000e", "e1000e")
    finally:
        set_driver_override(card, None)


def test_an_override_that_is_no_text_comes_back(command, card):
    """The kernel takes any bytes."""
    override = card.path / "driver_override"
    override.write_bytes(b"\xff\xc3\n")
    try:
        assert command("bind", card.address)[0] == 0
        status, said = command("unbind", card.address)
        assert (status, override.read_bytes()) == (0, b"\xff\xc3\n"), said
    finally:
        set_driver_override(card, None)
        rebind(card, "e1000e")
        set_driver_override(card, None)


def test_a_group_is_taken_whole(command, before, shared):
    command("bind", shared[0].address)
    assert [each.driver for each in shared] == ["vfio-pci"] * len(shared)
    command("unbind", shared[0].address)
    assert [each.driver for each in shared] == [None, "e1000e"]


def test_what_can_not_be_taken_whole_is_not_taken(command, before, monkeypatch, card, writes):
    monkeypatch.setattr(binding, "_DEADLINE", 10.0)
    # vfio-pci takes the card, and no bridge.
    bridge = next(each for each in functions() if each.class_code >> 8 == 0x0604)
    status, said = command("bind", card, bridge, "--force", bridge)
    assert status == 3 and f"vfio-pci was offered {bridge} and did not bind it within 10 s" in said
    assert writes.index(("/sys/bus/pci/drivers_probe", card.address)) > 0
    assert (card.driver, card.driver_override, bridge.driver_override) == ("e1000e", None, None)


def test_a_function_in_use_is_refused_unless_its_address_is_typed_again(
    command, before, writes, card, interface
):
    subprocess.run(
        ["ip", "address", "add", "192.0.2.1/24", "dev", interface], check=True, timeout=60
    )
    status, said = command("bind", card.address)
    assert status == 3 and f"{card}: {interface} has the address 192.0.2.1/24 [address]" in said
    status, said = command("bind", card.address, "--force", "0000:00:04.0")
    assert status == 3 and f"--force {card}" in said
    assert card.driver == "e1000e" and writes == []
    status, _ = command("bind", card.address, "--force", card.address)
    assert (status, card.driver) == (0, "vfio-pci")
    command("unbind", card.address)


def test_the_number_of_virtual_functions_comes_back(command, before, life):
    physical = life.controller_with_virtual_functions()
    sysfs.write(physical.path / "sriov_numvfs", "2")
    try:
        status, said = command("bind", physical.address)
        assert (status, physical.driver, physical.virtual_functions()) == (0, "vfio-pci", []), said
        status, said = command("unbind", physical.address)
        assert (status, physical.driver, len(physical.virtual_functions())) == (0, "nvme", 2), said
    finally:
        sysfs.write(physical.path / "sriov_numvfs", "0")


def test_virtual_functions_are_gone_while_a_test_has_the_physical_one(state, before, life):
    physical = life.controller_with_virtual_functions()
    sysfs.write(physical.path / "sriov_numvfs", "2")
    try:
        with machine_locked(state):
            kept = Journal.begun(state, "run")
            with journal.kept(kept), bound_to(physical):
                assert physical.virtual_functions() == []
                numbers = [each.old for of, each in kept.records.items() if "numvfs" in of.name]
                assert numbers == ["2"]
            kept.close()
        assert (physical.driver, len(physical.virtual_functions())) == ("nvme", 2)
        assert state.names(ENDING) == []
    finally:
        sysfs.write(physical.path / "sriov_numvfs", "0")


def test_what_somebody_has_changed_since_is_left(command, state, card, shared):
    edu, other = shared
    command("bind", card.address, edu.address)
    set_driver_override(card, "somebody's")
    rebind(other, None)
    status, said = command("restore")
    assert status == 0
    assert f"left      {other} driver: somebody has set it to '' since" in said
    assert "left      /sys/devices" in said and '"somebody\'s"' in said
    assert f"restored  {card} driver: 'vfio-pci' -> 'e1000e'" in said
    assert card.driver_override == "somebody's" and other.driver is None
    assert state.names(ENDING) == [] and command("restore") == (0, "nothing is left over\n")
    set_driver_override(card, None)
    rebind(other, "e1000e")
    set_driver_override(other, None)


def test_a_device_that_came_back_is_another_one(command, before, card):
    command("bind", card.address)
    (card.path / "remove").write_text("1")
    Path("/sys/bus/pci/rescan").write_text("1")
    assert card.driver == "e1000e"
    status, said = command("restore")
    assert status == 0 and said.count("it went away since") == 2


def test_nothing_of_another_boot_is_undone(command, state, card):
    command("bind", card.address)
    (name,) = state.names(ENDING)
    path = state.path / name
    path.write_text(path.read_text().replace(journals.boot(), "another"))
    status, said = command("restore")
    assert status == 0 and said.count("the machine was booted since") == 2
    assert card.driver == "vfio-pci" and state.names(ENDING) == []
    rebind(card, "e1000e")
    set_driver_override(card, None)


def test_a_damaged_journal_is_told_and_not_followed(command, state, before, card):
    command("bind", card.address)
    (name,) = state.names(ENDING)
    path = state.path / name
    whole = path.read_text()
    path.write_text(whole.replace('"note"', '"nothing"', 1))
    status, said = command("restore")
    assert status == 3 and f"line 2 of the journal {path} is damaged" in said
    assert card.driver == "vfio-pci"
    # Its last line may have been cut off, by a crash before the change.
    path.write_text(whole + '{"note": ["driver", "0000:0')
    assert command("restore")[0] == 0


def test_only_our_mediated_devices_are_removed(state, command, before):
    theirs = type_by_id("mtty-1").create(str(uuid.uuid4()))
    kept = Journal.begun(state, "run")
    with journal.kept(kept):
        ours = type_by_id("mtty-1").create(str(uuid.uuid4()))
    kept.close()
    status, said = command("restore")
    assert (status, ours.exists, theirs.exists) == (0, False, True), said
    Mdev(theirs.uuid).remove()


def test_parameters_and_attributes_come_back(state, command, card):
    power, ways = card.path / "power/control", card.path / "reset_method"
    parameter = Path("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode")
    old = [path.read_text() for path in (power, ways, parameter)]
    assert old[1].strip()
    kept = Journal.begun(state, "run")
    with journal.kept(kept):
        sysfs.write(power, "auto" if old[0].strip() == "on" else "on")
        sysfs.write(ways, "\n")  # none
        sysfs.write(parameter, "1")
    kept.close()
    assert all(
        path.read_text() != was for path, was in zip((power, ways, parameter), old, strict=True)
    )
    status, said = command("restore")
    assert (status, said.count("restored")) == (0, 3)
    assert [path.read_text() for path in (power, ways, parameter)] == old


def test_one_process_at_a_time_changes_the_machine(command, state, writes, card):
    def holding(ready):
        with machine_locked(State()):
            ready()

    with forked(holding) as pid:
        status, said = command("bind", card.address)
    assert status == 3 and f"is held by pid {pid} (" in said and writes == []


def test_a_refused_write_leaves_nothing_to_be_undone(state, card):
    kept = Journal.begun(state, "run")
    with journal.kept(kept), pytest.raises(OSError):
        sysfs.write(card.path / "power/control", "sideways")
    kept.close()
    assert state.names(ENDING) == []


def test_a_journal_says_what_will_be_before_it_is(state, edu, monkeypatch):
    """The line is synced when the write begins: read back from the disk's file at that moment."""
    seen = []
    real = sysfs.about_to_write

    def spied(path, text):
        told = real(path, text)
        (name,) = state.names(ENDING)
        last = json.loads((state.path / name).read_text().splitlines()[-1])
        seen.append((last.get("new"), sysfs.attribute(path) if "override" in str(path) else None))
        return told

    monkeypatch.setattr("vfio_hw.host.blocking.about_to_write", spied)
    kept = Journal.begun(state, "run")
    with journal.kept(kept):
        set_driver_override(edu, "vfio-pci")
        set_driver_override(edu, None)
    kept.close()
    assert seen == [("vfio-pci", "(null)"), ("", "vfio-pci")]
    assert list(restore(state)) == []
