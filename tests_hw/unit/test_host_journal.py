"""This file checks what a journal says of changes, whatever cut it off."""

import errno
import json
import os
from pathlib import Path

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.host import journal, journals, sysfs
from vfio_hw.host.journal import Journal
from vfio_hw.host.journals import ENDING, found, left
from vfio_hw.host.restore import restore
from vfio_hw.host.target import Target, alike, target_of


@pytest.fixture
def knob(tmp_path):
    path = tmp_path / "knob"
    path.write_text("old\n")
    return path


def target(path: Path) -> Target:
    return Target("attribute", str(path))


def test_a_change_is_synced_before_it_is_made(state, knob, monkeypatch):
    order = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (real(fd), order.append("synced"))[0])
    kept = Journal.begun(state, "run")
    order.clear()
    kept.note(target(knob), "new")
    assert order == ["synced"] and knob.read_text() == "old\n"
    (name,) = state.names(ENDING)
    assert found(state, name).records[target(knob)].pending == ["new"]


def test_a_journal_without_open_changes_goes_away(state, knob):
    kept = Journal.begun(state, "run")
    for value in ("new", "old"):
        kept.note(target(knob), value)
        knob.write_text(value)
        kept.ended(target(knob), value, made=True)
    kept.close()
    assert state.names() == []


def test_every_beginning_of_a_journal_can_be_restored_from(state, knob):
    """Cut off after any byte, as a crash may do, and with the change made or not made yet."""
    kept = Journal.begun(state, "run")
    states = []
    for value in ("one", "two", "old", "six"):
        kept.note(target(knob), value)
        states += [
            ((state.path / kept.name).stat().st_size, each) for each in (knob.read_text(), value)
        ]
        knob.write_text(value)
        kept.ended(target(knob), value, made=True)
        states.append(((state.path / kept.name).stat().st_size, value))
    kept.close()
    whole = (state.path / kept.name).read_bytes()
    for size, value in states:
        for cut in (b"", b'{"note": ["attr', b"{}"):
            knob.write_text(value)
            (state.path / kept.name).write_bytes(whole[:size] + cut)
            (state.path / kept.name).chmod(0o600)
            assert {each.word for each in restore(state)} <= {"restored"}
            assert knob.read_text().strip() == "old"
            assert state.names() == []


def test_what_somebody_changed_since_is_left_and_told_once(state, knob):
    kept = Journal.begun(state, "run")
    kept.note(target(knob), "new")
    knob.write_text("new")
    kept.ended(target(knob), "new", made=True)
    kept.close()
    knob.write_text("theirs")
    (outcome,) = restore(state)
    assert outcome.word == "left" and "'theirs' since, and we had set it to 'new'" in str(outcome)
    assert knob.read_text() == "theirs" and list(restore(state)) == []


def test_what_came_anew_under_a_name_has_an_old_value_of_its_own(state, knob, monkeypatch):
    """As a function that a test took from its bus, and that was found again."""
    numbers = iter("aabbbbbb")
    monkeypatch.setattr(Target, "identity", lambda self: next(numbers))
    kept = Journal.begun(state, "run")
    for old, new in (("old", "new"), ("native", "newer")):
        knob.write_text(old)
        kept.note(target(knob), new)
        knob.write_text(new)
        kept.ended(target(knob), new, made=True)
        if old == "old":
            next(numbers)
    kept.close()
    assert found(state, kept.name).records[target(knob)].old == "native"
    assert [each.word for each in restore(state)] == ["restored"]
    assert knob.read_text().strip() == "native"


def test_what_can_not_be_put_back_stays_in_the_journal(state, knob, monkeypatch):
    kept = Journal.begun(state, "run")
    kept.note(target(knob), "new")
    knob.write_text("new")
    kept.close()
    monkeypatch.setattr("vfio_hw.host.restore.write_with_deadline", lambda *args: None)
    (outcome,) = restore(state)
    assert outcome.word == "failed" and "it is 'new' after 'old' was put back" in outcome.text
    assert len(state.names(ENDING)) == 1
    monkeypatch.undo()
    assert [each.word for each in restore(state)] == ["restored"]


def test_a_line_that_is_damaged_stops_everything(state, knob):
    kept = Journal.begun(state, "run")
    kept.note(target(knob), "new")
    kept.note(target(knob), "newer")
    kept.close()
    path = state.path / kept.name
    lines = path.read_text().splitlines(keepends=True)
    for damage in ("garbage\n", '{"note": 7}\n', "[]\n", '{"made": ["attribute", "x"]}\n'):
        path.write_text("".join([lines[0], damage, *lines[1:]]))
        with pytest.raises(HarnessError, match=r"line 2 of the journal .* is damaged"):
            left(state)


def test_a_full_disk_leaves_no_half_line(state, knob, monkeypatch):
    kept = Journal.begun(state, "run")

    def full(descriptor, data):
        os.write(descriptor, data[:10])
        raise OSError(28, "full")

    monkeypatch.setattr(journal, "write_all", full)
    with pytest.raises(OSError):
        kept.note(target(knob), "new")
    monkeypatch.undo()
    kept.note(target(knob), "newer")
    kept.close()
    assert found(state, kept.name).records[target(knob)].pending == ["newer"]


def test_a_write_is_not_made_when_it_can_not_be_noted(state, knob, monkeypatch):
    kept = Journal.begun(state, "run")
    monkeypatch.setattr(journal, "target_of", lambda path, text: (target(path), text))
    monkeypatch.setattr(kept, "_append", lambda *args, **words: (_ for _ in ()).throw(OSError(28)))
    with journal.kept(kept), pytest.raises(OSError):
        sysfs.write(knob, "new")
    assert knob.read_text() == "old\n"


def test_values_that_say_the_same_are_the_same(tmp_path):
    path = tmp_path / "parameter"
    assert alike("Y", "1") and alike("0", "N") and not alike("1", "0") and not alike("2", "N")
    path.write_text("0\n")
    assert target(path).value() == "0"  # what is put back is what was read
    path.write_text("(null)\n")
    assert target(path).value() == ""


@pytest.mark.parametrize(
    "path, text",
    [
        ("/proc/sys/kernel/printk", "1"),
        ("/sys/kernel/debug/kmemleak", "scan"),
        ("/sys/bus/pci/rescan", "1"),
        ("/sys/bus/pci/devices/0000:00:04.0/reset", "1"),
        ("/sys/bus/pci/devices/0000:00:04.0/rom", "1"),
        ("/sys/bus/pci/drivers/x/unbind", "no address"),
    ],
)
def test_what_can_not_be_undone_is_not_noted(path, text):
    assert target_of(Path(path), text) is None


def test_what_a_write_changes():
    kind = "/sys/class/mdev_bus/mtty/mdev_supported_types/mtty-1/create"
    uuid = "6f1c0f2e-0000-4000-8000-000000000000"
    assert target_of(Path(kind), uuid) == (Target("mdev", uuid), "mtty/mtty-1")
    assert target_of(Path(f"/sys/bus/mdev/devices/{uuid}/remove"), "1") == (
        Target("mdev", uuid),
        "",
    )
    parameter = Path("/sys/module/vfio_pci/parameters/disable_idle_d3")
    assert target_of(parameter, "1\n") == (target(parameter), "1")
    injecting = Path("/sys/kernel/debug/fail_usercopy/verbose")
    assert target_of(injecting, "0") == (target(injecting), "0")


def test_what_can_not_be_read_is_not_written(state, tmp_path, monkeypatch):
    """The harness is to blame for that, not the kernel."""
    knob = tmp_path / "directory"
    knob.mkdir()
    kept = Journal.begun(state, "run")
    monkeypatch.setattr(journal, "target_of", lambda path, text: (target(path), text))
    with journal.kept(kept), pytest.raises(HarnessError, match="so it could not be put back"):
        sysfs.write(knob, "new")
    kept.close()
    assert state.names() == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_keeps_nothing_from_being_undone(state, tmp_path, monkeypatch, number):
    knobs = [tmp_path / name for name in ("one", "other")]
    kept = Journal.begun(state, "run")
    for knob in knobs:
        knob.write_text("old\n")
        kept.note(target(knob), "new")
        knob.write_text("new\n")
        kept.ended(target(knob), "new", made=True)

    def full(descriptor, data):
        os.write(descriptor, data[:5])
        raise OSError(number, "full")

    monkeypatch.setattr(journal, "write_all", full)
    with pytest.raises(OSError, match="full"):
        kept.note(target(knobs[0]), "newer")
    kept.close()
    assert [each.word for each in restore(state)] == ["restored", "restored"]
    assert [knob.read_text() for knob in knobs] == ["old\n", "old\n"]
    assert state.names() == []


def test_journals_are_in_the_order_in_which_they_were_begun(state):
    begun = [Journal.begun(state, "run") for _ in range(11)]
    assert [each.name for each in begun] == state.names(ENDING)
    for each in begun[:10]:
        each.close()
    after = Journal.begun(state, "run")
    assert state.names(ENDING) == [begun[10].name, after.name]


def test_the_header_says_whose_it_is(state):
    kept = Journal.begun(state, "bind")
    line = json.loads((state.path / kept.name).read_text())
    assert line == {"boot": journals.boot(), "pid": os.getpid(), "purpose": "bind"}
