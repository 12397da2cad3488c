"""This file checks what a journal keeps of a function that a run takes off its bus."""

import pytest

from vfio_hw.host import journal, sysfs, target
from vfio_hw.host.journal import Journal
from vfio_hw.host.journals import ENDING, found
from vfio_hw.host.restore import restore
from vfio_hw.host.target import Target

ADDRESS = "0000:00:05.0"
PRESENT = Target("present", ADDRESS)
DRIVER = Target("driver", ADDRESS)
MODEL = "pci:v00008086d000010D3sv00008086sd0000A01Fbc02sc00i00"


class Bus:
    """Functions as directories; each that comes is another one."""

    def __init__(self, path):
        self.path, self.gone = path, 0
        path.mkdir()

    def comes(self, override="(null)", driver=None, numvfs="0", model=MODEL):
        function = self.path / ADDRESS
        function.mkdir()
        for name, text in (("modalias", model), ("driver_override", override)):
            (function / name).write_text(f"{text}\n")
        (function / "sriov_numvfs").write_text(f"{numvfs}\n")
        if driver:
            (function / "driver").symlink_to(f"/drivers/{driver}")
        return function

    def goes(self):
        self.gone += 1
        (self.path / ADDRESS).rename(self.path.parent / f"gone-{self.gone}")

    def target(self, name):
        return Target("attribute", str(self.path / ADDRESS / name))


@pytest.fixture
def bus(tmp_path, monkeypatch):
    made = Bus(tmp_path / "bus")
    monkeypatch.setattr(target, "PCI", made.path)
    return made


@pytest.fixture
def put_back(monkeypatch):
    """What restore writes, or binds."""
    made = []

    def attribute(path, old):
        made.append((path.name, old))
        path.write_text(f"{old}\n")

    def drivers(function, old):
        made.append(("driver", old))
        link = target.PCI / ADDRESS / "driver"
        link.unlink(missing_ok=True)
        if old:
            link.symlink_to(f"/drivers/{old}")

    monkeypatch.setattr("vfio_hw.host.restore._attribute", attribute)
    monkeypatch.setattr("vfio_hw.host.restore._driver", drivers)
    monkeypatch.setattr("vfio_hw.host.restore.PciFunction.at", lambda address: address)
    monkeypatch.setattr("vfio_hw.host.restore.Held.target", lambda self, target: [])
    return made


def removed(kept: Journal, bus: Bus) -> None:
    kept.note(PRESENT, "")
    bus.goes()
    kept.ended(PRESENT, "", made=True)


def left(state) -> list[str]:
    return [str(each) for each in restore(state)]


@pytest.mark.parametrize("rebound", [False, True], ids=["killed", "rebound"])
def test_what_was_reserved_is_reserved_again(state, bus, put_back, rebound):
    """By a run that took it as it was; its own driver has found it on its bus."""
    bus.comes("vfio-pci", "vfio-pci", "2")
    kept = Journal.begun(state, "run")
    removed(kept, bus)
    function = bus.comes("(null)", "e1000e")
    if rebound:
        kept.note(bus.target("driver_override"), "vfio-pci")
        (function / "driver_override").write_text("vfio-pci\n")
        kept.ended(bus.target("driver_override"), "vfio-pci", made=True)
    kept.close()
    told = left(state)
    assert [each.split()[0] for each in told] == ["restored"] * (2 if rebound else 3), told
    wanted = [("driver", "vfio-pci"), ("driver_override", "vfio-pci"), ("sriov_numvfs", "2")]
    assert put_back == [each for each in wanted if not (rebound and each[0] == "driver_override")]
    assert state.names(ENDING) == []


@pytest.mark.parametrize("purpose", ["run", "bind"])
def test_what_another_journal_has_taken_is_given_back_as_it_was_then(state, bus, put_back, purpose):
    """Also when the one that knows of the removal is gone by then."""
    function = bus.comes("(null)", "e1000e", "2")
    taking = Journal.begun(state, purpose)
    for each, new in (
        (bus.target("sriov_numvfs"), "0"),
        (bus.target("driver_override"), "vfio-pci"),
    ):
        taking.note(each, new)
        (function / each.name.rpartition("/")[2]).write_text(new)
        taking.ended(each, new, made=True)
    taking.note(DRIVER, "vfio-pci")
    (function / "driver").unlink()
    (function / "driver").symlink_to("/drivers/vfio-pci")
    taking.ended(DRIVER, "vfio-pci", made=True)
    taking.complete()
    taking.close()
    running = Journal.begun(state, "run")
    for _ in range(3):
        removed(running, bus)
        bus.comes("vfio-pci", "vfio-pci")
    running.close()
    assert list(restore(state, lambda each, _: each.name == running.name)) == []
    assert state.names(ENDING) == [taking.name] and put_back == []
    told = left(state)
    assert [each.split()[0] for each in told] == ["restored"] * 3, told
    assert put_back == [("driver", "e1000e"), ("driver_override", ""), ("sriov_numvfs", "2")]


def test_what_drivers_set_is_put_back_when_the_old_one_is_there_again(state, bus, put_back):
    """Nothing else is to be undone of a function that has lost and got its driver."""
    function = bus.comes("(null)", "e1000e")
    power = function / "power/control"
    power.parent.mkdir()
    power.write_text("auto\n")
    for killed in (True, False):
        kept = Journal.begun(state, "run")
        kept.note(DRIVER, "")
        (function / "driver").unlink()
        power.write_text("on\n")
        kept.ended(DRIVER, "", made=True)
        if not killed:
            kept.note(DRIVER, "e1000e")
            (function / "driver").symlink_to("/drivers/e1000e")
            power.write_text("auto\n")
            kept.ended(DRIVER, "e1000e", made=True)
        kept.close()
        assert state.names(ENDING) == ([kept.name] if killed else [])
        assert [each.split()[0] for each in left(state)] == ["restored"] * (2 * killed)
    assert put_back == [("driver", "e1000e"), ("control", "auto")]


def test_what_somebody_else_removed_is_another_one(state, bus, put_back):
    """And so is a card of another model in its place, and one whose override somebody has set."""
    for how in ("theirs", "model", "override"):
        bus.comes("vfio-pci", "vfio-pci")
        kept = Journal.begun(state, "run")
        kept.note(bus.target("driver_override"), "other")
        (bus.path / ADDRESS / "driver_override").write_text("other")
        kept.ended(bus.target("driver_override"), "other", made=True)
        if how == "theirs":
            bus.goes()
        else:
            removed(kept, bus)
        bus.comes("theirs" if how == "override" else "(null)", "vfio-pci", model=how)
        if how == "override":
            (bus.path / ADDRESS / "modalias").write_text(f"{MODEL}\n")
        kept.close()
        told = left(state)
        word = "somebody has set it to 'theirs'" if how == "override" else "what is there now is"
        assert any("driver_override" in each and word in each for each in told), (how, told)
        assert put_back == [] and not any(each.startswith("restored") for each in told), told
        bus.goes()


def test_what_is_off_its_bus_is_brought_back_before_the_rest_is_judged(
    state, bus, put_back, monkeypatch
):
    bus.comes("vfio-pci", "vfio-pci")
    kept = Journal.begun(state, "run")
    removed(kept, bus)
    kept.close()
    monkeypatch.setattr(
        "vfio_hw.host.restore.rescan_bus_of", lambda *args, **words: bus.comes("(null)")
    )
    told = left(state)
    assert [each.split()[0] for each in told] == ["restored"] * 3, told
    assert put_back == [("driver", "vfio-pci"), ("driver_override", "vfio-pci")]


def test_every_beginning_of_such_a_journal_says_the_same(state, bus):
    """The journal as it is read anew is the one that was written."""
    bus.comes("vfio-pci", "vfio-pci", "2")
    kept = Journal.begun(state, "run")
    for _ in range(2):
        removed(kept, bus)
        bus.comes("(null)")
        for each, new in ((bus.target("driver_override"), "vfio-pci"), (DRIVER, "vfio-pci")):
            kept.note(each, new)
            read = found(state, kept.name)
            assert (read.records, read.departed.models) == (kept.records, kept.departed.models)
            assert list(read.records) == list(kept.records)
        (bus.path / ADDRESS / "driver_override").write_text("vfio-pci")
        (bus.path / ADDRESS / "driver").symlink_to("/drivers/vfio-pci")
        for each in (DRIVER, bus.target("driver_override")):
            kept.ended(each, "vfio-pci", made=True)
        assert found(state, kept.name).records == kept.records
    assert set(kept.records) == {PRESENT, bus.target("sriov_numvfs")}


def test_a_removal_is_noted_with_what_goes_before_it_is_made(state, bus, monkeypatch):
    bus.comes("vfio-pci", "vfio-pci")
    kept = Journal.begun(state, "run")
    monkeypatch.setattr(journal, "target_of", lambda path, text: (PRESENT, ""))
    seen = []
    with journal.kept(kept):
        sysfs.about_to_write(bus.path / ADDRESS / "remove", "1")
        seen = set(found(state, kept.name).records)
    assert {PRESENT, DRIVER, bus.target("driver_override")} <= seen
