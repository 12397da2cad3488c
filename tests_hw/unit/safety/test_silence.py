"""This file checks that a disk or a process which does not answer is not offered, and costs little.

Reading a FIFO that nobody writes to hangs, as a look into a stuck process does.
"""

import os
import stat
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from vfio_hw.host import backing, disk, openers
from vfio_hw.host.safety import Safety


@pytest.fixture
def stuck(tree):
    """Makes processes that hang whoever looks into them."""

    def make(*pids: int) -> None:
        for pid in pids:
            directory = tree.root / f"proc/{pid}"
            (directory / "fd").mkdir(parents=True)
            (directory / "stat").write_text(f"{pid} (stuck) D 1 1\n")
            os.mkfifo(directory / "maps")

    return make


def user_of(tree, pid: int, path: Path) -> None:
    directory = tree.root / f"proc/{pid}"
    (directory / "fd").mkdir(parents=True)
    (directory / "stat").write_text(f"{pid} (user) S 1 1\n")
    (directory / "maps").write_text("")
    (directory / "fd/3").symlink_to(path)


def test_a_process_that_does_not_tell_may_have_any_device_open(tree, stuck, monkeypatch):
    monkeypatch.setattr(openers, "_SECOND", 1.0)
    tree.driver("nvme")
    stuck(7)
    (refusal,) = tree.refusals()
    assert refusal.rule == "silent" and refusal.remedy
    assert "pid 7 (stuck) (did not answer within 1 s)" in refusal.reason


@pytest.mark.parametrize("number, seen", [(0xEFFFFFFC, []), (0xF0000123, ["silent"])])
def test_a_container_sees_only_its_own_processes(tree, number, seen):
    (tree.root / "proc/self/ns").mkdir()
    (tree.root / "proc/self/ns/pid").symlink_to(f"pid:[{number}]")
    assert tree.rules() == seen


def test_those_that_are_stuck_do_not_take_the_time_of_the_others(tree, stuck, monkeypatch):
    """Who has the device open is told, although he comes last, and all cannot be asked twice."""
    monkeypatch.setattr(openers, "_FIRST", 0.2)
    monkeypatch.setattr(openers, "_WHOLE", 2.5)
    tree.below("misc/used", "misc", "1:3")
    stuck(*range(11, 19))
    user_of(tree, 99, Path("/dev/null"))
    opened, silent = tree.refusals()
    assert (opened.rule, silent.rule) == ("open", "silent")
    assert opened.reason == "it is open in pid 99 (user): /dev/null"
    assert "pid 11 (stuck)" in silent.reason and silent.reason.endswith(" and 3 more")


def test_a_disk_that_is_dead_is_not_waited_for(tree, monkeypatch):
    tree.disk()
    monkeypatch.setattr(disk, "_PATIENCE", 0.3)
    monkeypatch.setattr(disk, "signature", lambda descriptor: time.sleep(60))
    began = time.monotonic()
    refusals = Safety(tree.root, claim=False).refusals(tree.pci())
    assert time.monotonic() - began < 30
    (refusal,) = refusals
    assert (refusal.rule, refusal.reason) == (
        "unread",
        "nvme0n1 can not be looked at (did not answer within 0.3 s)",
    )


@pytest.fixture
def dead(tree, monkeypatch):
    """A directory in which whoever looks hangs."""
    path, real = tree.root / "mnt/dead", Path.stat

    def hangs(asked, **words):
        if asked.is_relative_to(path):
            time.sleep(60)
        return real(asked, **words)

    monkeypatch.setattr(Path, "stat", hangs)
    monkeypatch.setattr(backing, "_PATIENCE", 0.3)


def mount(tree, *mounts: str) -> None:
    lines = [f"{number} 1 {each} rw\n" for number, each in enumerate(mounts, 20)]
    (tree.root / "proc/self/mountinfo").write_text("".join(lines))


def test_what_is_mounted_from_nowhere_is_not_waited_for(tree, dead):
    """Any user may mount, in a namespace of his own, what he says is a dead server's file."""
    tree.disk()
    mount(tree, "0:44 / /tmp/a rw - tmpfs /mnt/dead", "259:0 / /data rw - ext4 x")
    began = time.monotonic()
    assert tree.rules() == ["mounted"]
    assert time.monotonic() - began < 30


def test_nor_does_it_take_the_time_of_what_stands_on_a_disk(tree, dead, monkeypatch):
    """Which is told by its source only, where it has numbers of its own."""
    tree.disk()
    monkeypatch.setattr(backing, "_WHOLE", 1.0)
    disk, real = SimpleNamespace(st_mode=stat.S_IFBLK, st_rdev=os.makedev(259, 0)), Path.stat
    monkeypatch.setattr(
        Path, "stat", lambda path, **words: disk if path.name == "x" else real(path, **words)
    )
    theirs = [f"0:{n} / /tmp/{n} rw - fuse.sshfs /mnt/dead/{n}" for n in range(5)]
    mount(tree, *theirs, "0:44 / /data rw - btrfs /dev/mapper/x")
    assert tree.rules() == ["mounted"]


@pytest.mark.parametrize("source", ["/mnt/dead/a", "/dev/gone", f"/dev/{'long' * 99}"])
@pytest.mark.parametrize("kind, rules", [("btrfs", ["unread"]), ("tmpfs", [])])
def test_what_stands_on_a_disk_that_nobody_can_tell_may_be_on_any(tree, dead, source, kind, rules):
    tree.disk()
    mount(tree, f"0:44 / /data rw - {kind} {source}")
    refusals = tree.refusals()
    assert [each.rule for each in refusals] == rules
    reason = f"nvme0n1 may be {source}, which is mounted on /data"
    assert all(each.reason == reason for each in refusals)


@pytest.mark.parametrize("kind, rules", [("partition", ["unread"]), ("file", [])])
def test_so_may_what_is_swapped_to(tree, dead, kind, rules):
    tree.disk()
    with (tree.root / "proc/swaps").open("a") as swaps:
        swaps.write(f"/mnt/dead/a {kind} 1 0 -2\n")
    assert tree.rules() == rules


def test_a_disk_whose_node_does_not_answer_is_told_by_its_name(tree, dead):
    tree.disk()
    mount(tree, "0:44 / /data rw - btrfs /mnt/dead/dev/nvme0n1")
    assert tree.rules() == ["mounted"]


def test_a_look_alone_claims_nothing(tree, monkeypatch):
    """What the kernel has claimed, and shows nowhere, is seen before a disk is taken."""
    tree.disk()
    real = os.open

    def claimed(path, flags, *args, **keywords):
        if str(path).endswith("nvme0n1") and flags & os.O_EXCL:
            raise OSError(16, "busy")
        return real(path, flags, *args, **keywords)

    monkeypatch.setattr(os, "open", claimed)
    assert Safety(tree.root, claim=False).refusals(tree.pci()) == []
    assert tree.rules() == ["claimed"]
