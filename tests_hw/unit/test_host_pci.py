"""This file checks how PCI functions are found and lent, on a tree that imitates sysfs."""

import errno
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vfio_hw.errors import HarnessError, KernelRefused, KernelSplat
from vfio_hw.host import binding, inventory
from vfio_hw.host.binding import bound_to
from vfio_hw.host.pci import PciFunction


class Bus:
    """A bus with one function, and the part of the kernel that answers writes to it."""

    def __init__(self, root: Path) -> None:
        self.path = root / "bus"
        self.function = self.path / "devices" / "0000:00:04.0"
        self.function.mkdir(parents=True)
        self.values = {"vendor": "0x1234", "device": "0x11e8", "driver_override": "(null)"}
        for name, value in self.values.items():
            (self.function / name).write_text(f"{value}\n")
        for driver in ("vfio-pci", "edu-native", "stubborn"):
            (self.path / "drivers" / driver).mkdir(parents=True)
        group = root / "groups" / "7"
        (group / "devices").mkdir(parents=True)
        (self.function / "iommu_group").symlink_to(group)

    def bind(self, driver: str | None) -> None:
        (self.function / "driver").unlink(missing_ok=True)
        if driver:
            (self.function / "driver").symlink_to(self.path / "drivers" / driver)

    def write(self, path: Path, text: str, deadline: float) -> None:
        """What the kernel does with a write; the override alone decides who binds."""
        assert deadline > 0
        if path.name == "unbind":
            if not (self.function / "driver").exists():
                raise KernelRefused(errno.ENODEV, "write", str(path))
            self.bind(None)
        elif path.name == "drivers_probe":
            override = (self.function / "driver_override").read_text().strip()
            if override not in ("(null)", "stubborn"):
                self.bind(override)
        else:
            path.write_text(f"{text.strip() or '(null)'}\n")

    def remove(self) -> None:
        self.function.rename(self.path / "gone")


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bus:
    made = Bus(tmp_path)
    monkeypatch.setattr(binding, "write_with_deadline", made.write)
    return made


@pytest.mark.parametrize("address", ["0000:00:04.0", "00:04.0", " 0000:00:04.0\n"])
def test_a_function_is_found_by_its_full_and_its_short_address(bus: Bus, address: str) -> None:
    function = PciFunction.at(address, bus.path)
    assert (function.address, function.kind) == ("0000:00:04.0", "edu")
    assert (function.vendor, function.device) == (0x1234, 0x11E8)
    assert (function.driver, function.driver_override, function.iommu_group) == (None, None, 7)


@pytest.mark.parametrize(
    "address",
    ["", "edu", "00:04", "00:04.8", "00:24.0", "../..", "0000:00:04.0/..", "0000:00:04.0x"],
)
def test_a_malformed_address_is_said_to_be_one(bus: Bus, address: str) -> None:
    with pytest.raises(HarnessError, match="is not a PCI address: write"):
        PciFunction.at(address, bus.path)


def test_a_function_that_does_not_exist_is_said_not_to(bus: Bus) -> None:
    with pytest.raises(HarnessError, match=r"there is no PCI function 0000:00:05\.0"):
        PciFunction.at("0000:00:05.0", bus.path)


def test_siblings_are_the_other_pci_functions_of_the_group(bus: Bus, tmp_path: Path) -> None:
    other = bus.path / "devices" / "0000:00:04.1"
    other.mkdir()
    (other / "vendor").write_text("0x8086\n")
    (other / "device").write_text("0x10d3\n")
    for name in ("0000:00:04.0", "0000:00:04.1", "platform-thing"):
        (tmp_path / "groups" / "7" / "devices" / name).mkdir()
    siblings = PciFunction.at("00:04.0", bus.path).siblings(tmp_path / "groups")
    assert [(sibling.address, sibling.kind) for sibling in siblings] == [("0000:00:04.1", "e1000e")]


@pytest.mark.parametrize("driver", [None, "edu-native", "vfio-pci"])
@pytest.mark.parametrize("override", [None, "edu-native", "vfio-pci"])
def test_binding_and_back(bus: Bus, driver: str | None, override: str | None) -> None:
    bus.bind(driver)
    (bus.function / "driver_override").write_text(f"{override or '(null)'}\n")
    function = PciFunction.at("00:04.0", bus.path)
    with bound_to(function):
        assert (function.driver, function.driver_override) == ("vfio-pci", "vfio-pci")
    assert (function.driver, function.driver_override) == (driver, override)


def test_all_is_put_back_after_an_exception(bus: Bus) -> None:
    bus.bind("edu-native")
    function = PciFunction.at("00:04.0", bus.path)
    with pytest.raises(ZeroDivisionError), bound_to(function):
        bus.bind(None)
        raise ZeroDivisionError
    assert (function.driver, function.driver_override) == ("edu-native", None)


def test_a_function_that_left_meanwhile_is_named_with_what_was_lost(bus: Bus) -> None:
    bus.bind("edu-native")
    function = PciFunction.at("00:04.0", bus.path)
    expected = (
        r"driver edu-native and driver_override \(none\) of 0000:00:04.0 could not be restored"
    )
    with pytest.raises(HarnessError, match=expected), bound_to(function):
        bus.remove()


def test_a_driver_that_refuses_is_named_and_the_old_one_comes_back(bus: Bus) -> None:
    bus.bind("edu-native")
    function = PciFunction.at("00:04.0", bus.path)
    begun = time.monotonic()
    expected = r"stubborn was offered 0000:00:04\.0 and did not bind it within 0\.5 s"
    with (
        pytest.raises(KernelSplat, match=expected),
        bound_to(function, "stubborn", deadline=0.5),
    ):
        pytest.fail("it is not bound")
    assert time.monotonic() - begun < 5, "the deadline was 0.5 s"
    assert (function.driver, function.driver_override) == ("edu-native", None)


def test_guards_take_no_time_of_the_kernel_s(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """They look at the whole machine; a write that is given no time more is a kernel that hangs."""
    bus.bind("edu-native")
    monkeypatch.setattr(binding, "guards", [lambda function: time.sleep(0.3)])
    with bound_to(PciFunction.at("00:04.0", bus.path), deadline=0.2) as function:
        assert function.driver == "vfio-pci"


def test_what_an_unbind_that_hangs_left_undone_is_noted(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = PciFunction.at("00:04.0", bus.path)
    answer: Callable[[Path, str, float], None] = bus.write

    def hanging(path: Path, text: str, deadline: float) -> None:
        if path.name == "unbind":
            raise KernelSplat("it did not return", oracle="hang")
        answer(path, text, deadline)

    with pytest.raises(KernelSplat) as splat, bound_to(function):
        monkeypatch.setattr(binding, "write_with_deadline", hanging)
    expected = "the driver (none) and driver_override (none) of 0000:00:04.0"
    assert splat.value.__notes__ == [f"{expected} could not both be restored"]
    assert function.driver_override is None, "this at least could be"


def test_a_driver_that_is_not_there_is_said_to_be_missing(bus: Bus) -> None:
    function = PciFunction.at("00:04.0", bus.path)
    with pytest.raises(HarnessError, match="no such PCI driver"), bound_to(function, "nosuch"):
        pytest.fail("it is not bound")
    assert function.driver_override is None


def test_a_driver_that_let_go_by_itself_is_no_error(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus.bind("edu-native")
    answer: Callable[[Path, str, float], None] = bus.write

    def racing(path: Path, text: str, deadline: float) -> None:
        if path.name == "unbind":
            bus.bind(None)
        answer(path, text, deadline)

    monkeypatch.setattr(binding, "write_with_deadline", racing)
    with bound_to(PciFunction.at("00:04.0", bus.path)) as function:
        assert function.driver == "vfio-pci"


def test_the_inventory_lists_what_the_bus_lists() -> None:
    listed = sorted(path.name for path in Path("/sys/bus/pci/devices").glob("*"))
    assert [function.address for function in inventory.functions()] == listed


def test_a_kind_that_is_unknown_is_said_to_be() -> None:
    with pytest.raises(HarnessError, match="'edo' is not a kind of device: choose from edu, "):
        inventory.functions_of_kind("edo")
