"""This file checks how looks before and after a test are compared, and what is told of it."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from vfio_hw.oracle.leaks import Leaks

MODULES = "vfio 45056 {} vfio_pci, Live 0x0\n"


class Machine:
    """A directory with a few of the files that the oracle reads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.put("proc/modules", MODULES.format(1))
        self.put("sys/kernel/iommu_groups/7/type", "DMA")
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


def test_a_group_that_went_is_named(machine: Machine) -> None:
    leaks = Leaks(machine.root, grace=0.0)
    leaks.before("a test")
    (machine.root / "sys/kernel/iommu_groups/7").rename(machine.root / "gone")
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
    machine.put("proc/modules", MODULES.format(2))
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


def test_who_renames_a_directory_opens_none_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    leaks = Leaks(grace=0.05)
    with (tmp_path / "results" / "record").open("w"):
        leaks.before("a test")
        (tmp_path / "results").rename(tmp_path / "old")
        assert leaks.after() == []
        with (tmp_path / "old" / "another").open("w"):
            titles = [finding.title for finding in leaks.after()]
        assert titles == [f"own open descriptors of {tmp_path}/old/another: 0 -> 1"]


def test_what_changes_between_two_tests_is_told_after_the_second(machine: Machine) -> None:
    leaks = Leaks(machine.root, grace=0.0)
    leaks.before("a test")
    assert leaks.after() == []
    machine.put("dev/vfio/12", "")
    leaks.before("the next test")
    assert [finding.title for finding in leaks.after()] == ["/dev/vfio: 1 more"]
    leaks.before("the test after that")
    assert leaks.after() == [], "it is told once"
