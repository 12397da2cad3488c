"""This file checks that a write which blocks costs one child process and never this one."""

import errno
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vfio_hw.errors import HarnessError, KernelRefused, KernelSplat
from vfio_hw.host import sysfs, writer
from vfio_hw.host.blocking import BlockingWrite, took, write_with_deadline
from vfio_hw.host.process import process_state
from vfio_hw.oracle.children import descendants, have_children


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A FIFO: opening it for writing blocks until somebody opens it for reading."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    yield
    end = time.monotonic() + 5
    while list(writer.unfinished()) and time.monotonic() < end:
        time.sleep(0.01)
    assert not list(writer.unfinished()), "an abandoned child did not end within 5 s"


def test_a_write_that_succeeds_says_zero_and_when(tmp_path: Path) -> None:
    path = tmp_path / "attribute"
    path.touch()
    before = time.monotonic()
    write = BlockingWrite(path, "text").start()
    assert write.wait(5) == 0
    assert write.finished_at is not None
    assert before <= write.started_at <= write.finished_at <= time.monotonic()
    assert path.read_text() == "text"
    assert not write.blocked


def test_a_write_that_can_not_be_noted_takes_no_child(tmp_path, monkeypatch) -> None:
    class Full:
        def before(self, path, text):
            raise OSError(errno.ENOSPC, "full")

    writer.ready()
    monkeypatch.setattr(sysfs, "keepers", [Full()])
    before = writer.waiting()
    with pytest.raises(OSError, match="full"):
        BlockingWrite(tmp_path / "attribute", "text").start()
    assert writer.waiting() == before and not list(writer.unfinished())


@pytest.mark.parametrize(
    ("path", "number"), [("/dev/full", errno.ENOSPC), ("/nonexistent", errno.ENOENT)]
)
def test_a_refused_write_gives_its_errno(path: str, number: int) -> None:
    assert BlockingWrite(Path(path), "text").start().wait(5) == number


def test_a_write_blocks_until_the_kernel_lets_it(fifo: Path) -> None:
    write = BlockingWrite(fifo, "text").start()
    assert write.wait(0.05) is None
    assert write.blocked
    assert write.status().state == "S"
    assert f"pid {write.pid}" in write.stack()
    released = time.monotonic()
    with fifo.open() as reader:
        assert reader.read() == "text"
    assert write.wait(5) == 0
    assert write.finished_at is not None and write.finished_at >= released


def test_a_write_that_a_signal_has_ended_is_not_made_again(fifo: Path) -> None:
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    full = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    try:
        os.write(full, bytes(fcntl.fcntl(full, fcntl.F_GETPIPE_SZ)))
        with BlockingWrite(fifo, "text") as write:
            assert write.wait(0.05) is None
            write.signal(signal.SIGUSR1)
            assert write.wait(5) == errno.EINTR
    finally:
        os.close(full)
        os.close(reader)


@pytest.mark.parametrize("lowest", [3, 500])
def test_a_new_child_holds_no_descriptor_of_ours(fifo: Path, lowest: int) -> None:
    occupied = writer.taken()
    reader, low = os.pipe()
    theirs = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, lowest)
    os.close(low)
    with BlockingWrite(fifo, "text") as write:
        os.close(theirs)
        assert os.read(reader, 1) == b"", "somebody else still has the other end"
        assert write.blocked
    occupied.give_back()
    os.close(reader)


def test_the_child_of_one_write_makes_the_next(tmp_path: Path) -> None:
    first, second = (BlockingWrite(Path("/dev/null"), "text") for _ in range(2))
    assert first.start().wait(5) == second.start().wait(5) == 0
    assert first.pid == second.pid
    assert not have_children(), "it counts as one that a test left behind"


def test_writes_at_the_same_time_have_a_child_each(fifo: Path) -> None:
    with BlockingWrite(fifo, "text") as blocked:
        write_with_deadline(Path("/dev/null"), "text", 5)
        assert [write.pid for write in writer.unfinished()] == [blocked.pid]
        assert descendants() == {blocked.pid: False}


def test_a_child_that_died_meanwhile_is_replaced() -> None:
    first, second = (BlockingWrite(Path("/dev/null"), "text") for _ in range(2))
    assert first.start().wait(5) == 0
    os.kill(first.pid, signal.SIGKILL)
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
    assert second.start().wait(5) == 0
    assert second.pid != first.pid


def test_a_fork_of_this_process_has_a_child_of_its_own() -> None:
    write = BlockingWrite(Path("/dev/null"), "text")
    assert write.start().wait(5) == 0
    fork = os.fork()
    if fork == 0:
        mine = BlockingWrite(Path("/dev/null"), "text").start()
        os._exit(mine.wait(5) == 0 and mine.pid != write.pid)
    assert os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == 1


def test_the_child_ends_with_this_process() -> None:
    reader, theirs = os.pipe()
    fork = os.fork()
    if fork == 0:
        os.write(theirs, str(BlockingWrite(Path("/dev/null"), "text").start().pid).encode())
        os._exit(0)
    os.waitpid(fork, 0)
    os.close(theirs)
    pid = int(os.read(reader, 20))
    os.close(reader)
    end = time.monotonic() + 5
    while process_state(pid).state not in "ZX" and time.monotonic() < end:
        time.sleep(0.01)
    assert process_state(pid).state in "ZX"


def test_a_signal_reaches_the_child_which_still_reports(fifo: Path) -> None:
    write = BlockingWrite(fifo, "text").start()
    write.signal(signal.SIGTERM)
    assert write.wait(0.05) is None
    with fifo.open() as reader:
        reader.read()
    assert write.wait(5) == 0


def test_a_killed_child_says_eintr(fifo: Path) -> None:
    write = BlockingWrite(fifo, "text").start()
    write.signal(signal.SIGKILL)
    assert write.wait(5) == errno.EINTR


def test_an_abandoned_write_is_lost_and_waited_for_no_more(fifo: Path) -> None:
    with BlockingWrite(fifo, "text") as write:
        pass
    assert write.lost
    assert not write.blocked
    assert write.wait(5) is None


def test_a_waiter_that_sleeps_uses_no_processor_time(fifo: Path) -> None:
    with BlockingWrite(fifo, "text") as write:
        assert write.wait(0.2) is None
        assert write.cpu_seconds() < 0.1


def test_a_write_is_started_once(fifo: Path) -> None:
    with BlockingWrite(fifo, "text") as write, pytest.raises(HarnessError, match="already started"):
        write.start()


def test_no_descriptor_is_left_open(fifo: Path) -> None:
    writer.ready()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with BlockingWrite(fifo, "text"):
        pass
    BlockingWrite(Path("/dev/null"), "text").start().wait(5)
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_the_deadline_raises_with_the_place_in_the_kernel(fifo: Path) -> None:
    with pytest.raises(KernelSplat, match=r"did not return within 0\.05 s.*pid \d+"):
        write_with_deadline(fifo, "text", 0.05)


def test_an_errno_raises() -> None:
    with pytest.raises(KernelRefused, match=r"write of 'text' on /dev/full: ENOSPC") as refused:
        write_with_deadline(Path("/dev/full"), "text", 5)
    assert refused.value.errno == errno.ENOSPC


def test_mappings_that_hold_a_device_are_recognised() -> None:
    maps = (
        "7f10-7f20 rw-s 00000000 00:0e 1031 anon_inode:[vfio-device]\n"
        "7f20-7f30 rw-s 00000000 00:05 77   /dev/vfio/devices/vfio0\n"
        "7f30-7f40 rw-s 00000000 00:0e 1031 anon_inode:kvm-vcpu:0\n"
        "7f33-7f34 rw-s 00000000 00:05 78   /dev/iommu\n"
        "7f40-7f50 r-xp 00000000 fe:00 9    /usr/lib/libvfio.so\n"
        "7f50-7f60 rw-p 00000000 00:00 0 \n"
    )
    found = writer._HOLDING.findall(maps)
    assert found == [("7f10", "7f20"), ("7f20", "7f30"), ("7f30", "7f40"), ("7f33", "7f34")]


def test_what_writes_take_is_told_once_by_their_attribute(fifo: Path) -> None:
    took()
    with BlockingWrite(fifo, "text") as write:
        assert write.wait(0.1) is None
        assert took() == {}, "it has not returned"
        fifo.read_bytes()
        assert write.wait(5) == 0
    assert took()[fifo.name] >= 0.1
    assert took() == {}
