"""This file checks the switches that widen the window of a race, as far as they need no guest."""

import mmap
import os
from pathlib import Path

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.race.actor import Actor
from vfio_hw.race.program import Memory, Slot, Step, close, read, sleep_ns, syscall
from vfio_hw.race.racer import Racer
from vfio_hw.race.scene import Scene
from vfio_hw.race.widen import widened

PAGES = Path("/proc/sys/vm/unprivileged_userfaultfd")
needs_slow_pages = pytest.mark.skipif(
    os.geteuid() != 0 or not PAGES.exists(), reason="needs root and CONFIG_USERFAULTFD"
)
FIONREAD = 0x541B
MS = 1_000_000


def ioctl_step() -> Step:
    return syscall("ioctl", 0, FIONREAD, Memory(bytes(4)), decisive=True, label="FIONREAD")


def scene() -> Scene:
    user, remover = [ioctl_step()], [sleep_ns(1, decisive=True)]
    return Scene([], [Actor("user", user), Actor("remover", remover)])


def test_one_preempts_the_other_on_one_cpu() -> None:
    with widened(["user-preempts"]) as change:
        actors = change(scene()).actors
    assert [actor.policy for actor in actors] == ["fifo", "idle"]
    assert len({actor.cpu for actor in actors}) == 1
    with widened(["disruption-preempts"]) as change:
        assert [actor.policy for actor in change(scene()).actors] == ["idle", "fifo"]


def test_without_a_switch_nothing_changes() -> None:
    before = scene()
    with widened([]) as change:
        assert change(before) is before


def test_an_unknown_switch_is_refused_with_those_that_there_are() -> None:
    with (
        pytest.raises(HarnessError, match="as faster: choose from user-preempts, "),
        widened(["faster"]),
    ):
        pass


@needs_slow_pages
def test_the_argument_of_a_decisive_ioctl_is_on_a_slow_page() -> None:
    with widened(["slow-memory"]) as change:
        (step,), (sleep,) = (actor.program for actor in change(scene()).actors)
    assert isinstance(step.arguments[2], Memory)
    assert step.arguments[2].slow
    assert not any(isinstance(each, Memory) and each.slow for each in sleep.arguments)


@needs_slow_pages
def test_the_kernel_waits_for_a_slow_page_in_every_round_and_finds_what_was_put_there() -> None:
    """write() of a slow page into a pipe: copied in late, with what a slot held."""
    ends = Slot("read end"), Slot("write end")
    pipe = syscall("pipe2", Memory(bytes(8), loads={0: ends[0], 4: ends[1]}), 0)
    slow = Memory(b"abcdefgh", stores={4: ends[0]}, slow=True)
    program = [
        syscall("write", ends[1], slow, 8, decisive=True),
        syscall("write", ends[1], slow, 8, decisive=True),
        read(ends[0], 16),
    ]
    with Racer() as racer:
        for _ in range(5):
            played = racer.round(
                [pipe], [Actor("alone", program)], [close(ends[0]), close(ends[1])]
            )
            first, *_ = played.actors[0]
            assert played.outcome == ("ok+ok",)
            assert first.end_ns - first.start_ns > 0.3 * MS


@needs_slow_pages
def test_what_the_kernel_writes_to_a_slow_page_reaches_a_slot() -> None:
    ends = Slot("read end"), Slot("write end")
    number, copy = Slot("number", descriptor=False), Slot("copy")
    pipe = syscall("pipe2", Memory(bytes(8), loads={0: ends[0], 4: ends[1]}), 0)
    answer = Memory(bytes(4), loads={0: number}, slow=True)
    program = [
        syscall("ioctl", ends[0], FIONREAD, answer, decisive=True),
        syscall("dup3", ends[0], 200, 0, into=copy),
    ]
    with Racer() as racer:
        played = racer.round(
            [pipe, syscall("write", ends[1], Memory(b"xyz"), 3)],
            [Actor("alone", program)],
            [syscall("fcntl", ends[0], 1031, number), *map(close, (*ends, copy))],
        )
    assert played.outcome == ("ok",)
    assert played.epilogue[0].outcome == "ok"


def test_more_slow_pages_than_there_are_are_refused() -> None:
    program = [syscall("getppid", Memory(bytes(4), slow=True), decisive=True) for _ in range(9)]
    with Racer() as racer, pytest.raises(HarnessError, match=f"8 slow pages of {mmap.PAGESIZE} "):
        racer.round([], [Actor("alone", program)])
