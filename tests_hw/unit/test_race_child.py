"""This file checks that a call that hangs, or a child that dies, costs a child and is explained."""

import errno
import os
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from vfio_hw.errors import HarnessError, KernelSplat
from vfio_hw.race import hang as reports
from vfio_hw.race.child import Child
from vfio_hw.race.program import Memory, Slot, Step, close, openat, read, sleep_ns, syscall, write
from vfio_hw.race.racer import Actor, Racer

BLINK = Actor("blink", [sleep_ns(1000, decisive=True)])


def engines() -> list[psutil.Process]:
    """The engine's processes among our children; other tests may have left theirs behind."""
    ours = psutil.Process().children()
    running = [child for child in ours if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in running if child.name() == "race engine"]


@pytest.fixture
def racer() -> Iterator[Racer]:
    with Racer(deadline=1.0) as racer:
        yield racer


def pipe(read_end: Slot, write_end: Slot) -> Step:
    return syscall("pipe2", Memory(bytes(8), loads={0: read_end, 4: write_end}), os.O_CLOEXEC)


def hang(racer: Racer) -> str:
    read_end, write_end = Slot("empty pipe"), Slot("write end")
    blocked = Actor("blocked", [read(read_end, 1, decisive=True)])
    with pytest.raises(KernelSplat) as caught:
        racer.round([pipe(read_end, write_end)], [BLINK, blocked])
    return str(caught.value)


def test_a_call_that_does_not_return_is_named_with_its_thread(racer: Racer) -> None:
    title, *report = hang(racer).splitlines()
    assert title == "hang: read empty pipe did not return within 1 s"
    text = "\n".join(report)
    assert re.search(r"thread \d+ \(actor 0\), state S, call: none", text)
    blocked = re.search(r"thread \d+ \(actor 1\), state S, call: read empty pipe\n(.*\n)+", text)
    assert blocked
    for name in ("wchan", "syscall", "stack"):
        assert re.search(rf"    {name}: \S", blocked[0])
    assert re.fullmatch(r"process \d+ ended when asked", report[-1])


@pytest.mark.parametrize("where", ["prologue", "epilogue"])
def test_prologue_and_epilogue_can_hang_too(racer: Racer, where: str) -> None:
    read_end, write_end = Slot(where), Slot("write end")
    stuck = [pipe(read_end, write_end), read(read_end, 1)]
    prologue, epilogue = (stuck, []) if where == "prologue" else ([], stuck)
    with pytest.raises(KernelSplat, match=rf"^hang: read {where} did not return") as caught:
        racer.round(prologue, [BLINK], epilogue)
    assert re.search(
        rf"thread \d+ \(race engine\), state S, call: read {where}\n", str(caught.value)
    )
    assert re.search(r"process \d+ was killed$", str(caught.value))


def test_a_hang_takes_its_child_with_it_and_the_next_round_gets_a_new_one(racer: Racer) -> None:
    racer.round([], [BLINK])
    before = engines()
    hang(racer)
    assert engines() == []
    assert racer.round([], [BLINK]).outcome == ("ok",)
    assert engines() != before
    assert not racer.lost


def test_a_child_that_the_kernel_holds_is_not_waited_for(
    racer: Racer, monkeypatch: pytest.MonkeyPatch
) -> None:
    racer.round([], [BLINK])
    (child,) = engines()
    with monkeypatch.context() as patch:
        patch.setattr(Child, "reap", lambda self, seconds: None)
        assert f"process {child.pid} was killed and is still there, held by" in hang(racer)
        assert racer.lost == (child.pid,)
    assert racer.round([], [BLINK]).outcome == ("ok",)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not racer.lost


def test_a_child_killed_between_rounds_is_reported(racer: Racer) -> None:
    racer.round([], [BLINK])
    (child,) = engines()
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(HarnessError, match=rf"process {child.pid} died of SIGKILL while no call"):
        racer.round([], [BLINK])
    assert racer.round([], [BLINK]).outcome == ("ok",)


def test_a_child_killed_in_a_round_is_reported_with_its_call(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with Racer() as racer:
        racer.round([], [BLINK])
        (child,) = engines()

        def kill_when_told() -> None:
            fifo.read_bytes()
            os.kill(child.pid, signal.SIGTERM)

        killer = threading.Thread(target=kill_when_told, daemon=True)
        killer.start()
        told, read_end, write_end = Slot("told"), Slot("read end"), Slot("write end")
        program = [write(told, b"1"), close(told), read(read_end, 1, decisive=True)]
        with pytest.raises(HarnessError) as caught:
            racer.round(
                [openat(fifo, os.O_WRONLY, into=told), pipe(read_end, write_end)],
                [Actor("blocked", program)],
            )
        killer.join(5)
    # The signal may come before the read has begun.
    assert re.search(
        r"died of SIGTERM while (read read end|close told|no call) ran", str(caught.value)
    )


def test_the_child_holds_no_descriptor_of_ours(racer: Racer) -> None:
    with Path("/dev/null").open() as inherited:
        os.set_inheritable(inherited.fileno(), True)
        racer.round([], [BLINK])
        (child,) = engines()
        descriptors = {int(path.name): path.readlink() for path in _descriptors(child.pid)}
    assert [descriptors.pop(number) for number in range(3)] == [Path("/dev/null")] * 3
    assert [str(path).split(":")[0] for path in descriptors.values()] == ["socket", "anon_inode"]


def test_ctrl_c_at_the_terminal_does_not_reach_into_a_round(racer: Racer) -> None:
    racer.round([], [BLINK])
    (child,) = engines()
    os.kill(child.pid, signal.SIGINT)
    assert racer.round([], [BLINK]).outcome == ("ok",)


def test_a_broken_pipe_is_an_errno(racer: Racer) -> None:
    read_end, write_end = Slot("read end"), Slot("write end")
    program = [close(read_end), write(write_end, b"1", decisive=True)]
    played = racer.round([pipe(read_end, write_end)], [Actor("alone", program)])
    assert played.actors[0][1].error == errno.EPIPE


def test_leaving_the_context_ends_the_child() -> None:
    with Racer() as racer:
        racer.round([], [BLINK])
        assert len(engines()) == 1
    assert engines() == []


ORPHAN = """
import os, sys
from vfio_hw.race.program import Memory, Slot, openat, read, syscall, write
from vfio_hw.race.racer import Actor, Racer
fifo, ends = Slot("fifo"), (Slot("read end"), Slot("write end"))
pipe = syscall("pipe2", Memory(bytes(8), loads={0: ends[0], 4: ends[1]}), 0)
tell = [pipe, openat(sys.argv[1], os.O_WRONLY, into=fifo), write(fifo, b"1")]
block = [read(ends[0], 1, decisive=True)]
with Racer(deadline=60) as racer:
    if sys.argv[2] == "prologue":
        racer.round(tell + block, [])
    racer.round([], [Actor("blocked", tell + block)])
"""


@pytest.mark.parametrize("where", ["prologue", "actor"])
def test_a_child_in_a_call_dies_with_its_parent(tmp_path: Path, where: str) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    told = os.open(fifo, os.O_RDWR)
    with subprocess.Popen([sys.executable, "-c", ORPHAN, fifo, where]) as parent:
        assert _readable(told, seconds=10)
        (child,) = psutil.Process(parent.pid).children()
        pidfd = os.pidfd_open(child.pid)
        parent.kill()
    ended = _readable(pidfd, seconds=5)
    if not ended:
        child.kill()
    os.close(pidfd)
    os.close(told)
    assert ended


def _readable(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _descriptors(pid: int) -> list[Path]:
    return sorted(Path(f"/proc/{pid}/fd").iterdir())


def test_a_hang_says_what_the_witnesses_say(racer: Racer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "witnesses", [lambda: "held by pid 7", lambda: "blocked: nobody"])
    racer.deadline = 0.2
    ends = Slot("read end"), Slot("write end")
    with pytest.raises(KernelSplat) as caught:
        racer.round([pipe(*ends)], [Actor("reads", [read(ends[0], 1, decisive=True)])])
    assert str(caught.value).splitlines()[-2:] == ["held by pid 7", "blocked: nobody"]
