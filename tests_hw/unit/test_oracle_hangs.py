"""This file checks that processes left over or blocked are found, with where they wait."""

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vfio_hw.oracle import hangs, snapshot
from vfio_hw.oracle.children import descendants, have_children
from vfio_hw.oracle.hangs import Hangs
from vfio_hw.oracle.holders import descriptors_held, holders, mappings_held


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as child:
        yield child
        child.kill()


def started(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def test_a_child_left_over_is_found_with_its_state_and_place() -> None:
    oracle = Hangs(grace=0.05)
    oracle.before("a test")
    with started("sleep", "60") as child:
        (finding,) = oracle.after()
        child.kill()
    assert finding.title.startswith("process sleep left over")
    assert f"pid {child.pid} (sleep) state S" in finding.text
    assert "open VFIO and IOMMUFD files are held by:" in finding.text


def test_a_grandchild_is_found_too() -> None:
    oracle = Hangs(grace=0.05)
    oracle.before("a test")
    # Between its fork and its exec it is a shell.
    begun = "until read name < /proc/$!/comm && [ $name = sleep ]; do :; done"
    with started("sh", "-c", f"sleep 60 & {begun}; echo $!; wait") as child:
        assert child.stdout is not None
        grandchild = int(child.stdout.readline())
        names = {finding.title.split()[1] for finding in oracle.after()}
        os.kill(grandchild, 9)
        child.kill()
    assert names == {"sh", "sleep"}


def test_a_child_from_before_the_test_is_not_counted(sleeper: subprocess.Popen[bytes]) -> None:
    oracle = Hangs(grace=0.0)
    oracle.before("a test")
    assert oracle.after() == []


def test_a_child_that_ends_in_time_is_not_counted() -> None:
    oracle = Hangs(grace=10.0)
    oracle.before("a test")
    with started("sleep", "0.05"):
        begun = time.monotonic()
        assert oracle.after() == []
        assert time.monotonic() - begun < 5


def test_a_child_that_has_ended_is_no_hang() -> None:
    oracle = Hangs(grace=0.0)
    oracle.before("a test")
    with started("true") as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert oracle.after() == []


def test_a_child_from_before_that_is_now_blocked_is_found(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle = Hangs(grace=0.05)
    oracle.before("a test")
    monkeypatch.setattr(hangs, "descendants", lambda: {sleeper.pid: True})
    assert len(oracle.after()) == 1
    oracle.before("the next test")
    assert oracle.after() == [], "the same hang is reported once"


def test_descendants_are_ours_only(sleeper: subprocess.Popen[bytes]) -> None:
    assert have_children()
    assert set(descendants()) == {sleeper.pid}


def test_a_process_without_children_knows_it() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(have_children())
    assert os.waitpid(pid, 0)[1] == 0


def test_overrides_are_not_read_while_a_child_runs(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    place = "PCI functions with a driver_override"
    assert place not in snapshot.taken(tmp_path).entries
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # ended, and not yet collected
    assert place in snapshot.taken(tmp_path).entries


def test_an_ordinary_machine_has_no_holders_of_this_process() -> None:
    assert not [line for line in holders() if line.startswith(f"pid {os.getpid()} ")]


def process_with(root: Path, pid: int, descriptors: dict[str, str], maps: str) -> None:
    directory = root / "proc" / str(pid)
    (directory / "fd").mkdir(parents=True)
    (directory / "comm").write_text("qemu\n")
    (directory / "maps").write_text(maps)
    for number, target in descriptors.items():
        (directory / "fd" / number).symlink_to(target)


def test_descriptors_and_mappings_are_told_with_their_owner(tmp_path: Path) -> None:
    maps = (
        "7f10-7f20 rw-s 00000000 00:0e 1031 anon_inode:[vfio-device]\n"
        "7f20-7f30 rw-s 00000000 00:05 77   /dev/vfio/devices/vfio0\n"
        "7f40-7f50 r-xp 00000000 fe:00 9    /usr/lib/libvfio.so\n"
    )
    process_with(tmp_path, 7, {"3": "/dev/null", "12": "/dev/vfio/5", "4": "/dev/iommu"}, "")
    process_with(tmp_path, 8, {"3": "socket:[7]"}, maps)
    assert descriptors_held(7, tmp_path) == [
        "pid 7 (qemu) descriptor 4: /dev/iommu",
        "pid 7 (qemu) descriptor 12: /dev/vfio/5",
    ]
    mapped = [
        "pid 8 (qemu) mapping 7f10-7f20: anon_inode:[vfio-device]",
        "pid 8 (qemu) mapping 7f20-7f30: /dev/vfio/devices/vfio0",
    ]
    assert mappings_held(8, tmp_path) == mapped
    assert holders(tmp_path) == [*descriptors_held(7, tmp_path), *mapped]


def test_a_device_is_held_through_kvm_too(tmp_path: Path) -> None:
    """KVM keeps a file that was added to its device for VFIO when the user has closed it."""
    others = {"5": "anon_inode:kvm-vcpu:0", "6": "/dev/kvm"}
    process_with(tmp_path, 7, {"9": "anon_inode:kvm-vfio", **others}, "")
    assert holders(tmp_path) == ["pid 7 (qemu) descriptor 9: anon_inode:kvm-vfio"]


def test_a_process_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    assert descriptors_held(9, tmp_path) == mappings_held(9, tmp_path) == []


def test_a_process_that_does_not_answer_is_told_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Nobody writes to the fifo in place of its mappings: who reads it waits for ever."""
    (tmp_path / "proc/7/fd").mkdir(parents=True)
    (tmp_path / "proc/7/comm").write_text("busy\n")
    (tmp_path / "proc/7/fd/5").symlink_to("anon_inode:[vfio-device]")
    os.mkfifo(tmp_path / "proc/7/maps")
    assert holders(tmp_path) == [
        "pid 7 (busy) descriptor 5: anon_inode:[vfio-device]",
        "pid 7: mappings (did not answer within 2 s)",
    ]


def test_threads_that_end_while_children_are_looked_for_do_no_harm():
    ended = threading.Event()

    def come_and_go():
        while not ended.is_set():
            thread = threading.Thread(target=lambda: None)
            thread.start()
            thread.join()

    coming = threading.Thread(target=come_and_go)
    coming.start()
    try:
        assert not any([have_children() for _ in range(500)])
    finally:
        ended.set()
        coming.join()
