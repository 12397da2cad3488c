"""This file checks that every kind of leak is found, named and counted, and nothing else is."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from vfio_hw.oracle.leaks import Leaks


class Machine:
    """A directory that looks like the parts of a machine that the oracle reads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sys = root / "sys"
        self.put("sys/module/vfio/refcnt", "1")
        self.put("sys/module/vfio/holders/vfio_pci/x", "")
        self.put("sys/module/ext4/refcnt", "5")
        self.put("sys/class/mdev_bus/mtty/mdev_supported_types/mtty-1/available_instances", "24")
        self.put("sys/bus/pci/devices/0000:00:04.0/driver_override", "(null)")
        self.put("sys/kernel/iommu_groups/7/type", "DMA")
        self.put("dev/vfio/vfio", "")
        self.put("proc/self/status", "VmLck:\t       0 kB\nVmPin:\t       0 kB\n")
        self.link("proc/self/fd/0", "/dev/null")
        self.link("proc/self/fd/3", "pipe:[4711]")

    def put(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(f"{text}\n")

    def link(self, path: str, target: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).symlink_to(target)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def titles(machine: Machine, change: Callable[[], object]) -> list[str]:
    leaks = Leaks(machine.root, grace=0.0)
    leaks.before("a test")
    change()
    return [finding.title for finding in leaks.after()]


def test_nothing_changed_is_no_finding(machine: Machine) -> None:
    assert titles(machine, lambda: None) == []


MTTY = "sys/class/mdev_bus/mtty/mdev_supported_types/mtty-1/available_instances"
PLANTED = [
    ("sys/module/vfio/refcnt", "2", "module vfio: references 0 -> 1"),
    ("sys/module/vfio/refcnt", "0", "module vfio: references 0 -> -1"),
    (MTTY, "23", "mdev type mtty-1 of mtty: available instances 24 -> 23"),
    ("dev/vfio/12", "", "/dev/vfio: 1 more"),
    ("dev/vfio/devices/vfio0", "", "/dev/vfio/devices: 1 more"),
    ("sys/class/vfio/12", "", "/sys/class/vfio: 1 more"),
    ("sys/class/vfio-dev/vfio0", "", "/sys/class/vfio-dev: 1 more"),
    ("sys/kernel/iommu_groups/8/type", "DMA", "/sys/kernel/iommu_groups: 1 more"),
    ("sys/bus/mdev/devices/6f1d9e0a", "", "/sys/bus/mdev/devices: 1 more"),
    ("sys/bus/pci/drivers/vfio-pci/0000:00:04.0", "", "PCI functions bound to vfio-pci: 1 more"),
    (
        "sys/bus/pci/devices/0000:00:04.0/driver_override",
        "vfio-pci",
        "PCI functions with a driver_override: 1 more",
    ),
    ("proc/self/status", "VmLck: 0 kB\nVmPin: 8 kB", "own VmPin (kB): 0 -> 8"),
    ("proc/self/status", "VmLck: 4 kB\nVmPin: 0 kB", "own VmLck (kB): 0 -> 4"),
]


@pytest.mark.parametrize(("path", "text", "title"), PLANTED, ids=[x[2] for x in PLANTED])
def test_a_planted_leak_is_named(machine: Machine, path: str, text: str, title: str) -> None:
    assert titles(machine, lambda: machine.put(path, text)) == [title]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("sys/module/ext4/refcnt", "6"),
        ("sys/module/mdpy/refcnt", "1"),
        ("dev/vfio/devices/.keep/x", ""),
        ("sys/bus/pci/drivers/vfio-pci/new_id", ""),
        ("sys/bus/pci/devices/0000:00:05.0/driver_override", "(null)"),
        ("sys/class/mdev_bus/mdpy/mdev_supported_types/mdpy-hd/available_instances", "4"),
    ],
)
def test_what_is_no_leak_is_not_named(machine: Machine, path: str, text: str) -> None:
    machine.put("dev/vfio/devices/.keep/y", "")
    assert titles(machine, lambda: machine.put(path, text)) == []


def test_a_module_that_uses_another_is_no_leak(machine: Machine) -> None:
    def load() -> None:
        machine.put("sys/module/vfio/refcnt", "2")
        machine.put("sys/module/vfio/holders/vfio_iommu_type1/x", "")

    assert titles(machine, load) == []


def test_a_group_that_went_is_named(machine: Machine) -> None:
    leaks = Leaks(machine.root, grace=0.0)
    leaks.before("a test")
    (machine.sys / "kernel/iommu_groups/7").rename(machine.root / "gone")
    (finding,) = leaks.after()
    assert finding.title == "/sys/kernel/iommu_groups: 1 fewer"
    assert finding.text == "went: 7"


def test_a_descriptor_left_open_is_named_by_what_it_is(machine: Machine) -> None:
    title = "own open descriptors of anon_inode:[vfio-device]: 0 -> 1"
    assert titles(machine, lambda: machine.link("proc/self/fd/9", "anon_inode:[vfio-device]")) == [
        title
    ]


def test_another_pipe_in_the_place_of_one_is_no_leak(machine: Machine) -> None:
    def reopen() -> None:
        (machine.root / "proc/self/fd/3").unlink()
        machine.link("proc/self/fd/4", "pipe:[4712]")

    assert titles(machine, reopen) == []


def test_a_descriptor_closed_is_no_leak(machine: Machine) -> None:
    machine.link("proc/self/fd/1", "/dev/null")
    assert titles(machine, (machine.root / "proc/self/fd/1").unlink) == []


def test_the_text_says_who_holds_a_device(machine: Machine) -> None:
    leaks = Leaks(machine.root, grace=0.0)
    leaks.before("a test")
    machine.put("proc/77/comm", "holder")
    machine.link("proc/77/fd/5", "anon_inode:[vfio-device]")
    machine.link("proc/77/fd/6", "/dev/vfio/12")
    machine.link("proc/77/fd/7", "/dev/vfiox")
    maps = "7f00-7f01 rw-s 00000000 00:0e 12   anon_inode:[vfio-device]\n7f02-7f03 r--p 0 0:0 0"
    machine.put("proc/77/maps", maps)
    machine.put("sys/module/vfio/refcnt", "2")
    (finding,) = leaks.after()
    assert "pid 77 (holder) descriptor 5: anon_inode:[vfio-device]\n" in finding.text
    assert "pid 77 (holder) descriptor 6: /dev/vfio/12\n" in finding.text
    assert "vfiox" not in finding.text
    assert finding.text.endswith("pid 77 (holder) mapping 7f00-7f01: anon_inode:[vfio-device]")


def test_what_the_kernel_releases_a_moment_later_is_no_leak(machine: Machine) -> None:
    leaks = Leaks(machine.root, grace=10.0)
    leaks.before("a test")
    machine.put("dev/vfio/12", "")
    later = threading.Timer(0.05, (machine.root / "dev/vfio/12").unlink)
    later.start()
    assert leaks.after() == []
    later.join()


def test_a_descriptor_of_this_very_process_is_found() -> None:
    leaks = Leaks(grace=0.05)
    leaks.before("a test")
    descriptor = os.open("/dev/zero", os.O_RDONLY)
    try:
        assert [finding.title for finding in leaks.after()] == [
            "own open descriptors of /dev/zero: 0 -> 1"
        ]
    finally:
        os.close(descriptor)
    assert leaks.after() == []
