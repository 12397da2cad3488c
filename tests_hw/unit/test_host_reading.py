"""This file checks that an attribute which the kernel does not show costs no more than a deadline.

Reading a FIFO that nobody writes to hangs, as a read does that waits for the lock of a device.
"""

import os
import time
from pathlib import Path

import pytest

from tests_hw.unit.test_host_pci import Bus
from vfio_hw.errors import HarnessError, KernelSplat
from vfio_hw.host import binding, journal, pci, reading
from vfio_hw.host.binding import with_override
from vfio_hw.host.journal import Journal
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.rehearsal import rehearsed
from vfio_hw.host.restore import restore
from vfio_hw.host.safety import Safety
from vfio_hw.host.target import Target
from vfio_hw.host.tree import listed
from vfio_hw.host.writer import taken, unfinished

ADDRESS = "0000:00:04.0"


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bus:
    made = Bus(tmp_path)
    (tmp_path / "proc").mkdir()
    monkeypatch.setattr(binding, "write_with_deadline", made.write)
    return made


@pytest.fixture
def locks(monkeypatch):
    """Makes attributes that are not shown, and all patience short."""
    answer = reading.locked_attribute
    for module in (pci, reading):
        monkeypatch.setattr(module, "locked_attribute", lambda path, *_: answer(path, 0.3))

    def lock(path: Path) -> None:
        path.unlink(missing_ok=True)
        os.mkfifo(path)

    return lock


def test_what_is_shown_is_what_was_set(tmp_path: Path) -> None:
    path = tmp_path / "driver_override"
    path.write_bytes(b" \xff\xc3\n")
    assert os.fsencode(reading.read(path) or "") == b"\xff\xc3"
    assert reading.read(tmp_path / "sriov_numvfs") is None
    path.unlink()
    path.mkdir()
    with pytest.raises(IsADirectoryError, match="driver_override"):
        reading.read(path)


def test_who_does_not_answer_is_left_and_has_nothing_of_ours_open(tmp_path: Path, locks) -> None:
    locks(tmp_path / "sriov_numvfs")
    ours = os.open(tmp_path, os.O_RDONLY)
    before = {each.pid for each in unfinished()}
    reader = taken()
    reader.ask(tmp_path / "sriov_numvfs")
    assert reader.answer(1 << 16, 10.0)
    held = [str(each.readlink()) for each in Path(f"/proc/{reader.pid}/fd").iterdir()]
    assert str(tmp_path) not in held
    reader.kill()
    began = time.monotonic()
    with pytest.raises(
        KernelSplat, match=r"read of .*numvfs did not return within 0\.3 s"
    ) as splat:
        reading.read(tmp_path / "sriov_numvfs")
    assert splat.value.oracle == "hang" and time.monotonic() - began < 10
    (tmp_path / "driver_override").write_text("x\n")
    assert reading.read(tmp_path / "driver_override") == "x"
    os.close(ours)
    end = time.monotonic() + 10
    while {each.pid for each in unfinished()} - before:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_function_that_does_not_say_is_listed_and_not_taken(bus: Bus, locks) -> None:
    locks(bus.function / "driver_override")
    found = listed(PciFunction.at(ADDRESS, bus.path), Safety(bus.path.parent))
    assert found.override is None and [each.rule for each in found.refusals][-1] == "silent"
    assert any("driver_override did not return" in each for each in found.obstacles)


def test_a_virtual_function_that_does_not_say_may_be_reserved(bus: Bus, locks) -> None:
    virtual = bus.path / "devices/0000:00:04.1"
    virtual.mkdir()
    for name in ("vendor", "device"):
        (virtual / name).write_text("0x1\n")
    (bus.function / "virtfn0").symlink_to(virtual)
    locks(virtual / "driver_override")
    refusals = Safety(bus.path.parent).refusals(PciFunction.at(ADDRESS, bus.path))
    (reason,) = [each.reason for each in refusals if each.rule == "vf"]
    assert reason.startswith("its virtual function 0000:00:04.1 may be reserved: read of ")


def test_after_a_hang_the_override_is_not_waited_for(bus: Bus, locks) -> None:
    """The write that hangs has the lock; what is told is that."""
    began = time.monotonic()
    locks(bus.function / "driver_override")
    function = PciFunction.at(ADDRESS, bus.path)
    with pytest.raises(KernelSplat, match="it did not return"), with_override(function, None):
        raise KernelSplat("it did not return", oracle="hang")
    with pytest.raises(KernelSplat, match="read of"), with_override(function, None):
        raise HarnessError("it was refused")
    assert time.monotonic() - began < 10


def test_what_is_not_shown_fails_and_holds_up_nothing_else(
    state, bus: Bus, locks, monkeypatch
) -> None:
    """It stays in the journal, and is put back when the kernel shows it."""
    monkeypatch.setattr("vfio_hw.host.held.Held.target", lambda self, target: [])
    names = ("power_control", "driver_override")
    targets = [Target("attribute", str(bus.function / name)) for name in names]
    kept = Journal.begun(state, "run")
    with journal.kept(kept):
        for target in targets:
            Path(target.name).write_text("old\n")
            kept.note(target, "new")
            Path(target.name).write_text("new\n")
            kept.ended(target, "new", made=True)
    kept.close()
    override = Path(targets[1].name)
    locks(override)
    for undo in (rehearsed, restore):
        told = [str(each) for each in undo(state) if not isinstance(each, tuple)]
        silent = [each for each in told if each.startswith("failed")]
        assert len(silent) == 1 and "did not return within" in silent[0], told
    assert Path(targets[0].name).read_text() == "old\n"
    override.unlink()
    override.write_text("new\n")
    assert [each.word for each in restore(state)] == ["restored"]
    assert override.read_text() == "old\n"
