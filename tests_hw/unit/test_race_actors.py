"""This file checks actors that are processes, that run in a storm, and that share a CPU."""

import mmap
import os
import signal
import time
from collections.abc import Iterator

import pytest

from vfio_hw.errors import HarnessError, KernelRefused, KernelSplat
from vfio_hw.race import calls
from vfio_hw.race.actor import Actor, Storm
from vfio_hw.race.program import Memory, Slot, close, openat, read, sleep_ns, syscall
from vfio_hw.race.racer import Racer

MS = 1_000_000


@pytest.fixture
def racer() -> Iterator[Racer]:
    with Racer(deadline=3.0) as racer:
        yield racer


def pipe(read_end: Slot, write_end: Slot):
    return syscall("pipe2", Memory(bytes(8), loads={0: read_end, 4: write_end}), os.O_CLOEXEC)


def waits() -> list:
    return [sleep_ns(2000 * MS, decisive=True)]


def test_an_owner_that_is_killed_lets_go_of_what_it_opened(racer: Racer) -> None:
    """The write end is open in the owner alone: the reader comes to the end of the file."""
    ends, own, pid = (Slot("r"), Slot("w")), Slot("own copy"), Slot("owner", descriptor=False)
    owner = Actor("owner", waits(), setup=[calls.dup(ends[1], own)], process=True, pid=pid)
    reader = Actor("reader", [close(ends[1]), read(ends[0], 1, decisive=True)])
    killer = Actor("killer", [calls.kill(pid, signal.SIGKILL, decisive=True, delay_ns=20 * MS)])
    for _ in range(3):
        played = racer.round([pipe(*ends)], [owner, reader, killer], [close(ends[0])])
        assert played.outcome == ("SIGKILL", "ok", "ok")
        end, sleep, kill = played.actors[1][1], played.actors[0][0], played.actors[2][0]
        assert end.value == 0
        assert kill.start_ns <= end.end_ns
        # On a busy machine it is killed before its first call.
        assert sleep.end_ns - (sleep.start_ns or sleep.end_ns) < 1000 * MS
        assert played.left_open == ()


def test_an_owner_that_exits_lets_go_too(racer: Racer) -> None:
    ends = Slot("r"), Slot("w")
    owner = Actor("owner", [calls.exits(decisive=True, delay_ns=MS)], process=True)
    reader = Actor("reader", [close(ends[1]), read(ends[0], 1, decisive=True)])
    played = racer.round([pipe(*ends)], [owner, reader], [close(ends[0])])
    assert played.outcome == ("exited", "ok")
    assert played.actors[1][1].value == 0


def test_a_process_that_dies_before_the_start_holds_nobody_up(racer: Racer) -> None:
    where = calls.mapping("nowhere", mmap.PAGESIZE)
    anonymous = calls.mmap(where, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    dies = Actor("dies", waits(), setup=[anonymous, calls.exits()], process=True)
    with pytest.raises(HarnessError, match="exit, before the others began, came to: exited"):
        racer.round([], [dies, Actor("lives", [sleep_ns(MS, decisive=True)])])
    assert racer.round([], [Actor("lives", [sleep_ns(MS, decisive=True)])]).outcome == ("ok",)


def test_a_setup_that_fails_is_told(racer: Racer) -> None:
    setup = [openat("/nonexistent", os.O_RDONLY, into=Slot("missing"))]
    with pytest.raises(KernelRefused, match="open /nonexistent"):
        racer.round([], [Actor("alone", [sleep_ns(1, decisive=True)], setup=setup)])


def test_a_process_that_does_not_end_is_killed_when_it_is_given_up(racer: Racer) -> None:
    racer.deadline = 0.3
    owner = Actor("owner", waits(), process=True, pid=Slot("pid", descriptor=False))
    with pytest.raises(HarnessError, match=r"hang: sleep .* did not return[^$]*actor 0"):
        racer.round([], [owner])
    assert racer.lost == ()


def test_a_storm_ends_with_the_others_and_is_counted(racer: Racer) -> None:
    null = Slot("null")
    program = [
        openat("/dev/null", os.O_RDONLY, into=null, decisive=True),
        openat("/nonexistent", os.O_RDONLY, into=Slot("missing")),
        close(null),
    ]
    storm = Actor("storm", program, storm=Storm())
    played = racer.round([], [storm, Actor("one", [sleep_ns(300 * MS, decisive=True)])])
    stormed, none = played.storms
    assert none is None
    assert stormed is not None
    assert stormed.iterations > 10
    assert stormed.outcomes == (
        {"ok": stormed.iterations},
        {"ENOENT": stormed.iterations},
        {"ok": stormed.iterations},
    )
    kept = stormed.starts_ns
    assert len(kept) == min(stormed.iterations, 4096)
    assert list(kept) == sorted(kept)
    assert kept[-1] == played.actors[0][0].start_ns


def test_a_storm_ends_after_its_time_or_number(racer: Racer) -> None:
    program = [syscall("getppid", decisive=True)]
    began = time.monotonic()
    played = racer.round(
        [],
        [
            Actor("number", program, storm=Storm(times=7)),
            Actor("time", program, storm=Storm(seconds=0.1)),
        ],
    )
    assert time.monotonic() - began >= 0.1
    number, timed = played.storms
    assert number is not None
    assert timed is not None
    assert number.iterations == 7
    assert timed.iterations > 7


def test_a_storm_that_hangs_is_the_kernels_fault(racer: Racer) -> None:
    """Its call has failed before, and does not return the next time."""
    ends = Slot("r"), Slot("w")
    fionbio = 0x5421
    begin, waits = (
        syscall("ioctl", ends[0], fionbio, Memory(bytes([on, 0, 0, 0]))) for on in (1, 0)
    )
    program = [read(ends[0], 1, label="the read", decisive=True), waits]
    storm = Actor("storm", program, storm=Storm(times=2))
    racer.deadline = 0.5
    with pytest.raises(KernelSplat, match=r"hang: the read did not return(.|\n)*call: the read"):
        racer.round([pipe(*ends), begin], [storm])


def test_the_last_turn_of_a_storm_does_not_have_the_errors_of_one_before(racer: Racer) -> None:
    ends = Slot("r"), Slot("w")
    program = [read(ends[1], 1, decisive=True), close(ends[1])]
    storm = Actor("storm", program, storm=Storm(times=2))
    played = racer.round([pipe(*ends)], [storm], [close(ends[0])])
    assert [call.outcome for call in played.actors[0]] == ["skipped", "skipped"]
    assert played.storms[0].outcomes == ({"EBADF": 1, "skipped": 1}, {"ok": 1, "skipped": 1})


def test_a_storm_without_an_end_is_refused(racer: Racer) -> None:
    with pytest.raises(HarnessError, match="the storm of actor alone has no end"):
        racer.round([], [Actor("alone", waits(), storm=Storm())])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may schedule before others")
def test_on_one_cpu_who_comes_before_others_begins_within_the_others_work(racer: Racer) -> None:
    """The long one never sleeps: without a policy the other has to wait for its time slice."""
    cpu = min(os.sched_getaffinity(0))
    computes = [syscall("getppid", decisive=True)]
    seconds = []
    for _ in range(5):
        played = racer.round(
            [],
            [
                Actor("computes", computes, storm=Storm(0.02), cpu=cpu, policy="idle"),
                Actor("first", [sleep_ns(1, decisive=True)], 5 * MS, cpu=cpu, policy="fifo"),
            ],
        )
        late = played.actors[1][0].start_ns - played.released_ns - 5 * MS
        seconds.append(late)
    assert min(seconds) < 2 * MS


def test_a_policy_that_is_none_is_refused() -> None:
    with pytest.raises(HarnessError, match="actor a can not be scheduled as 'rt': choose one of"):
        Actor("a", waits(), policy="rt")
