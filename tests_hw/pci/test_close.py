"""This file checks that a function is after the last close as before the first open (P3, P9).

It also checks that closing one function leaves another that is open on the same bus alone.
"""

import time
from pathlib import Path

import pytest

from vfio_hw.errors import KernelSplat, Unsupported
from vfio_hw.fixtures import Target
from vfio_hw.uapi import lib
from vfio_hw.vfio import irq
from vfio_hw.vfio.config import BARS, COMMAND, COMMAND_MASTER
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.hot_reset import hot_reset_errno
from vfio_hw.vfio.opened import opened

MODES = ["vfio_type1v2_iommu", "iommufd"]
BAR0 = lib.VFIO_PCI_BAR0_REGION_INDEX
MSI = lib.VFIO_PCI_MSI_IRQ_INDEX
# Source: linux/pci_regs.h.
COMMAND_MEMORY, CACHE_LINE_SIZE, INTERRUPT_LINE, HEADER = 1 << 1, 0x0C, 0x3C, 64
# Of e1000e, 4 bytes that a reset clears: TDBAL (Intel 82574 datasheet, register descriptions).
SCRATCH = 0x3800
ASLEEP = 5.0


def asleep(path: Path) -> None:
    """The function has been put to sleep, which the kernel does some time after the close."""
    end = time.monotonic() + ASLEEP
    status = path / "power" / "runtime_status"
    while status.read_text().strip() != "suspended":
        if time.monotonic() > end:
            raise KernelSplat(
                f"{path.name} is {status.read_text().strip()} {ASLEEP:g} s after its last close:"
                " see its power/runtime_usage",
                oracle="leaks",
            )
        time.sleep(0.002)


def state(path: Path) -> dict[str, object]:
    """What sysfs shows of a function that sleeps: its header, its resources, its users."""
    asleep(path)
    shown: dict[str, object] = {
        name: (path / name).read_text()
        for name in ("enable", "resource", "power/runtime_usage", "power/control")
    }
    with (path / "config").open("rb", buffering=0) as config:
        shown["config"] = config.read(HEADER)
    shown["msi_irqs"] = [each.name for each in path.glob("msi_irqs/*")]
    asleep(path)
    return shown


def use(device) -> None:
    """Change what can be changed: real registers, virtual ones, interrupts."""
    space = device.config()
    space.enable_master()
    with EventFd() as eventfd:
        irq.arm(device, MSI, [eventfd])
    for offset, width, value in (
        (BARS, 4, 0x12340000),
        (BARS + 4, 4, 0xFFFFFFFF),
        (INTERRUPT_LINE, 1, 0x5A),
        (CACHE_LINE_SIZE, 1, 0x10),
        (COMMAND, 2, COMMAND_MASTER),
    ):
        space.put(offset, width, value)


@pytest.mark.promise("P3")
@pytest.mark.promise("P9")
@pytest.mark.parametrize("mode", MODES)
def test_a_function_is_after_the_last_close_as_before_the_first_open(pci_device: Target, mode):
    before = state(pci_device.path)
    with opened(pci_device.path, mode) as user:
        assert (pci_device.path / "power" / "runtime_status").read_text().strip() == "active"
        use(user.device)
    assert state(pci_device.path) == before


@pytest.mark.promise("P3")
@pytest.mark.parametrize("mode", MODES)
def test_the_next_user_finds_nothing_of_the_one_before_in_config_space(pci_device: Target, mode):
    """The whole config space is as the first user found it, virtual registers as well."""
    found = []
    for _ in range(2):
        with opened(pci_device.path, mode) as user:
            region = user.device.config().region
            found.append([region.read(offset, 4) for offset in range(0, region.size, 4)])
            use(user.device)
            changed = [region.read(offset, 4) for offset in range(0, region.size, 4)]
            assert changed != found[-1]
    assert found[0] == found[1]


@pytest.mark.promise("P3")
def test_only_the_last_close_ends_the_use_of_a_function(pci_device: Target):
    with opened(pci_device.path, MODES[0]) as user:
        space = user.device.config()
        second = user.group.device(pci_device.name)
        space.enable_master()
        second.close()
        assert space.get(COMMAND, 2) & COMMAND_MASTER
        assert int((pci_device.path / "enable").read_text()) == 1
    assert int((pci_device.path / "enable").read_text()) == 0


@pytest.fixture
def e1000e_and_edu(bus):
    """An e1000e, and an edu on its bus, which all is VFIO's.

    An edu can not be reset by itself, so its last close may reset the bus; it keeps its registers
    through that, while the e1000e loses its own.
    """
    for function in bus:
        if function.kind == "e1000e":
            return function, bus[0]
    raise Unsupported("no e1000e is on the bus of the two edu functions")


@pytest.mark.promise("P3")
def test_closing_a_function_leaves_the_other_one_on_its_bus_alone(e1000e_and_edu):
    """Neither its registers nor its config space change, though the bus could be reset."""
    one, other = e1000e_and_edu
    with opened(one.path, MODES[0]) as user:
        registers, space = user.device.region(BAR0), user.device.config()
        for _ in range(2):
            registers.put(SCRATCH, 4, 0x12345670)
            space.enable_master()
            with user.group.device(other.address) as closing:
                use(closing)
                seen = space.region.read(0, HEADER)
            assert registers.get(SCRATCH, 4) == 0x12345670
            assert space.region.read(0, HEADER) == seen
            assert space.get(COMMAND, 2) & (COMMAND_MASTER | COMMAND_MEMORY) == (
                COMMAND_MASTER | COMMAND_MEMORY
            )
        assert hot_reset_errno(user.device, [user.group]) == 0
        assert registers.get(SCRATCH, 4) == 0, "a reset of the bus would not have shown"


@pytest.mark.promise("P8")
def test_a_reset_keeps_what_the_user_configured(e1000e):
    """Config space is saved before the reset and restored after it, and memory is reached again."""
    with opened(e1000e.path, MODES[0]) as user:
        region = user.device.config().region
        use(user.device)
        user.device.config().put(COMMAND, 2, COMMAND_MASTER | COMMAND_MEMORY)
        seen = region.read(0, HEADER)
        for _ in range(2):
            assert user.device.reset_errno() == 0
            assert region.read(0, HEADER) == seen
            assert user.device.region(BAR0).get(0, 4) != 0xFFFFFFFF
