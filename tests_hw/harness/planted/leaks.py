"""Each test here leaves something behind that one look of the leak oracle must see (P9)."""

import contextlib
import fcntl
import os

import pytest

from vfio_hw.host import modules
from vfio_hw.host.binding import bound_to
from vfio_hw.host.inventory import functions_of_kind
from vfio_hw.host.mdev import created, type_by_id
from vfio_hw.oracle.look import machine
from vfio_hw.uapi import lib
from vfio_hw.vfio import irq
from vfio_hw.vfio.dma import PAGE, mapped
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.opened import opened

MODE = "vfio_type1v2_iommu"
KVM_CREATE_VM = 0xAE01
COMMAND, MEMORY, MASTER = 4, 0x2, 0x4


@pytest.fixture
def free_edu():
    return functions_of_kind("edu")[0]


def entered(manager) -> contextlib.ExitStack:
    """A context manager that was entered, and is left by the stack's ``close``."""
    stack = contextlib.ExitStack()
    stack.enter_context(manager)
    return stack


def kept(descriptor: int):
    """A duplicate of a descriptor, and what closes it."""
    duplicate = os.dup(descriptor)
    return lambda: os.close(duplicate)


def test_a_device_descriptor(caught, leaks, mtty):
    def plant():
        with opened(mtty.path, MODE) as user:
            return kept(user.device.fileno())

    titles = caught(leaks, plant)
    assert "module mtty: references 0 -> 1" in titles
    assert "own open descriptors of anon_inode:[vfio-device]: 0 -> 1" in titles


def test_a_mediated_device(caught, leaks):
    titles = caught(leaks, lambda: entered(created(type_by_id("mdpy-xga"))).close)
    whole = "\n".join(titles)
    assert "mdev type mdpy-xga of mdpy: available instances 4 -> 3" in titles
    assert "mdev type mdpy-xga of mdpy: devices: 1 more" in titles
    assert "module mdpy: vmalloc (bytes) 0 -> " in whole
    for place in ("bus/mdev/devices", "kernel/iommu_groups", "class/vfio", "class/vfio-dev"):
        assert f"/sys/{place}: 1 more" in titles
    for place in ("/dev/vfio", "/dev/vfio/devices", "/sys/kernel/debug/vfio"):
        assert f"{place}: 1 more" in titles


def test_a_driver_override(caught, leaks, free_edu):
    override = free_edu.path / "driver_override"

    def plant():
        override.write_text("vfio-pci")
        return lambda: override.write_text("\n")

    assert caught(leaks, plant) == ["PCI functions with a driver_override: 1 more"]


def test_a_binding(caught, leaks, free_edu):
    titles = caught(leaks, lambda: entered(bound_to(free_edu, "vfio-pci")).close)
    assert "PCI functions and their drivers: 1 more" in titles


def test_an_enabled_function(caught, leaks, free_edu):
    enable = free_edu.path / "enable"

    def plant():
        enable.write_text("1")
        return lambda: enable.write_text("0")

    assert caught(leaks, plant) == [f"{free_edu} (no driver): times enabled 0 -> 1"]


@pytest.mark.parametrize(
    ("bit", "title"), [(MASTER, "bus master"), (MEMORY, "memory decoding off")]
)
def test_the_command_register(caught, leaks, free_edu, bit, title):
    def flip():
        descriptor = os.open(free_edu.path / "config", os.O_RDWR)
        value = int.from_bytes(os.pread(descriptor, 2, COMMAND), "little") ^ bit
        os.pwrite(descriptor, value.to_bytes(2, "little"), COMMAND)
        os.close(descriptor)
        return flip

    assert caught(leaks, flip) == [f"{free_edu}: {title}: 0 -> 1"]


def test_a_function_kept_awake(caught, leaks, edu):
    control = edu.path / "power/control"
    before = control.read_text()

    def plant():
        control.write_text("on" if before.strip() == "auto" else "auto")
        return lambda: control.write_text(before)

    assert any("runtime PM usage" in title for title in caught(leaks, plant))


def test_an_armed_interrupt_and_a_region_in_use(caught, leaks, edu):
    def plant():
        with opened(edu.path, MODE) as user, EventFd() as eventfd:
            user.device.region(lib.VFIO_PCI_BAR0_REGION_INDEX).get(0, 4)
            irq.arm(user.device, lib.VFIO_PCI_MSI_IRQ_INDEX, [eventfd])
            return kept(user.device.fileno())

    titles = caught(leaks, plant)
    assert "interrupt handlers of VFIO: 1 more" in titles
    assert f"{edu} (vfio-pci): MSI interrupts 0 -> 1" in titles
    assert f"{edu} (vfio-pci): times enabled 0 -> 1" in titles
    assert f"{edu}: awake: 0 -> 1" in titles
    assert "I/O regions claimed by VFIO: 0 -> 1" in titles


def test_a_virtual_machine(caught, leaks):
    modules.load("kvm-amd")

    def plant():
        kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
        vm = fcntl.ioctl(kvm, KVM_CREATE_VM, 0)
        os.close(kvm)
        return lambda: os.close(vm)

    titles = caught(leaks, plant)
    assert "/sys/kernel/debug/kvm: 1 more" in titles
    assert any(title.startswith("module kvm") and "references" in title for title in titles)


def test_pinned_pages(edu):
    before = machine.pinned_pages("")["pages pinned"]
    with opened(edu.path, MODE) as user, mapped(user.iommu, 4 * PAGE):
        assert machine.pinned_pages("")["pages pinned"] == before + 4
    assert machine.pinned_pages("")["pages pinned"] == before
