"""This file checks that a disk or a process which does not answer is not offered, and costs little.

Reading a FIFO that nobody writes to hangs, as a look into a stuck process does.
"""

import os
import time
from pathlib import Path

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


def test_what_is_mounted_from_nowhere_is_not_waited_for(tree, monkeypatch):
    """Any user may mount, in a namespace of his own, what he says is a dead server's file."""
    tree.disk()
    dead, real = tree.root / "mnt/dead", Path.stat

    def hangs(path, **words):
        if path == dead:
            time.sleep(60)
        return real(path, **words)

    monkeypatch.setattr(Path, "stat", hangs)
    monkeypatch.setattr(backing, "_PATIENCE", 0.3)
    dead_one, ours = (
        "20 1 0:44 / /tmp/a rw - tmpfs /mnt/dead rw\n",
        "21 1 259:0 / /data rw - ext4 x",
    )
    (tree.root / "proc/self/mountinfo").write_text(f"{dead_one}{ours} rw\n")
    began = time.monotonic()
    assert tree.rules() == ["mounted"]
    assert time.monotonic() - began < 30


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
