"""This file checks how a function is looked for that we have taken off its bus."""

import shutil

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.host import rescan, sysfs
from vfio_hw.host.rescan import rescan_bus_of

OURS, THEIRS = "0000:01:00.0", "0000:01:03.0"


@pytest.fixture
def buses(tmp_path):
    """Two buses, and the functions that a rescan of the second one finds."""
    for bus in ("0000:00", "0000:01"):
        (tmp_path / "buses" / bus).mkdir(parents=True)
        (tmp_path / "buses" / bus / "rescan").write_text("")
    (tmp_path / "pci/devices").mkdir(parents=True)
    (tmp_path / "pci/drivers_autoprobe").write_text("1\n")
    (tmp_path / "pci/drivers_probe").write_text("")
    return {"buses": tmp_path / "buses", "pci": tmp_path / "pci"}


@pytest.fixture
def writes(buses, monkeypatch):
    """Every write, with what drivers_autoprobe was, and whether a journal was told."""
    pci, made, real = buses["pci"], [], rescan.write_with_deadline

    class Keeper:
        def before(self, path, text):
            made.append(("told", path.name, text.strip()))

        def after(self, token, *, made):
            pass

    def write(path, text, deadline):
        real(path, text, deadline)
        made.append((path.name, text.strip(), (pci / "drivers_autoprobe").read_text().strip()))
        if path.name == "rescan":
            for address in (OURS, THEIRS):
                (pci / "devices" / address).mkdir()
                (pci / "devices" / address / "driver_override").write_text("(null)\n")

    monkeypatch.setattr(rescan, "write_with_deadline", write)
    sysfs.keepers.append(Keeper())
    yield made
    sysfs.keepers.pop()


def test_only_the_bus_of_a_function_is_looked_at(buses):
    rescan_bus_of(OURS, 5.0, **buses)
    looked = [(buses["buses"] / bus / "rescan").read_text() for bus in ("0000:00", "0000:01")]
    assert looked == ["", "1"]
    with pytest.raises(HarnessError, match="its bus 0000:02 with it"):
        rescan_bus_of("0000:02:00.0", 5.0, **buses)


def test_no_driver_has_it_before_its_override_is_set(buses, writes):
    """Others on that bus go to their drivers, which is nothing that is to be undone."""
    rescan_bus_of(OURS, 5.0, override="vfio-pci", **buses)
    assert writes == [
        ("told", "drivers_autoprobe", "0"),
        ("told", "rescan", "1"),
        ("rescan", "1", "0"),
        ("told", "driver_override", "vfio-pci"),
        ("driver_override", "vfio-pci", "0"),
        ("told", "drivers_autoprobe", "1"),
        ("drivers_probe", THEIRS, "1"),
    ]


def test_a_bus_that_probes_nothing_by_itself_does_not_after(buses, writes):
    """Nor is anything offered to a driver that somebody else has left without one."""
    (buses["pci"] / "drivers_autoprobe").write_text("0\n")
    rescan_bus_of(OURS, 5.0, **buses)
    assert (buses["pci"] / "devices" / THEIRS).is_dir() and ("rescan", "1", "0") in writes
    assert (buses["pci"] / "drivers_autoprobe").read_text() == "0\n"
    assert (buses["pci"] / "drivers_probe").read_text() == ""


def test_a_bus_probes_again_when_it_could_not_be_looked_at(buses):
    shutil.rmtree(buses["buses"] / "0000:01")
    (buses["buses"] / "0000:01").mkdir()
    with pytest.raises(HarnessError):
        rescan_bus_of(OURS, 5.0, **buses)
    assert (buses["pci"] / "drivers_autoprobe").read_text() == "1\n"
