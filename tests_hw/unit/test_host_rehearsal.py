"""This file checks what a rehearsal says of what can not be undone: the same as undoing does."""

import shutil

import pytest

from vfio_hw.host import target
from vfio_hw.host.journal import Journal
from vfio_hw.host.rehearsal import rehearsed
from vfio_hw.host.restore import restore
from vfio_hw.host.target import Target

# Of a domain that no machine has: servers have buses of any number, and they would be rescanned.
ADDRESS = "ffffffff:fe:1f.7"
PRESENT = Target("present", ADDRESS)


@pytest.fixture
def nobody(monkeypatch):
    """Nothing is open."""
    monkeypatch.setattr("vfio_hw.host.held.Held.target", lambda self, target: [])


def test_what_has_gone_with_its_bus(state, nobody, tmp_path, monkeypatch):
    monkeypatch.setattr(target, "PCI", tmp_path / "bus")
    function = tmp_path / "bus" / ADDRESS
    function.mkdir(parents=True)
    (function / "modalias").write_text("pci:v00008086d000010D3\n")
    kept = Journal.begun(state, "run")
    kept.note(PRESENT, "")
    shutil.rmtree(function)
    kept.ended(PRESENT, "", made=True)
    kept.close()
    told = [str(each) for each in rehearsed(state)]
    assert told == [str(each) for each in restore(state)]
    assert (
        len(told) == 1 and told[0].startswith("failed") and "its bus ffffffff:fe with it" in told[0]
    )


def test_a_bus_that_was_left_without_drivers_offers_what_is_found(
    state, nobody, tmp_path, monkeypatch
):
    """Before it is looked at: by a run that was killed while it was looked at."""
    monkeypatch.setattr(target, "PCI", tmp_path / "devices")
    function, switch = tmp_path / "devices" / ADDRESS, tmp_path / "drivers_autoprobe"
    function.mkdir(parents=True)
    (function / "modalias").write_text("pci:v00008086d000010D3\n")
    switch.write_text("1\n")
    kept, autoprobe = Journal.begun(state, "run"), Target("attribute", str(switch))
    for each, now in ((autoprobe, "0"), (PRESENT, "")):
        kept.note(each, now)
    switch.write_text("0\n")
    shutil.rmtree(function)
    for each, now in ((autoprobe, "0"), (PRESENT, "")):
        kept.ended(each, now, made=True)
    kept.close()
    monkeypatch.setattr("vfio_hw.host.rehearsal.bus_of", lambda address: tmp_path / "bus")
    look = [(switch, "0"), (tmp_path / "bus/rescan", "1"), (switch, "1")]
    assert list(rehearsed(state)) == [(switch, "1"), *look]
    found = []

    def rescanned(address, deadline):
        found.append(switch.read_text().strip())
        function.mkdir()

    monkeypatch.setattr("vfio_hw.host.restore.rescan_bus_of", rescanned)
    assert [each.word for each in restore(state)] == ["restored", "restored"] and found == ["1"]


def test_a_mediated_device_that_was_removed(state, nobody, tmp_path, monkeypatch):
    monkeypatch.setattr(target, "MDEV", tmp_path)
    name = "6f3c2b0e-0000-4000-8000-000000000001"
    kinds = tmp_path / "parent" / "mdev_supported_types" / "mtty-1"
    kinds.mkdir(parents=True)
    (tmp_path / name).mkdir()
    (tmp_path / name / "mdev_type").symlink_to(kinds)
    kept = Journal.begun(state, "run")
    kept.note(Target("mdev", name), "")
    shutil.rmtree(tmp_path / name)
    kept.ended(Target("mdev", name), "", made=True)
    kept.close()
    told = [str(each) for each in rehearsed(state)]
    assert told == [str(each) for each in restore(state)]
    assert len(told) == 1 and told[0].startswith("failed") and "its state is lost" in told[0]
