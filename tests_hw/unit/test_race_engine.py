"""This file checks that rounds run as they were composed: together, in time, and recorded."""

import os
import time
from collections.abc import Iterator

import psutil
import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.race.program import Memory, Slot, Step, close, openat, read, sleep_ns, syscall, write
from vfio_hw.race.racer import Actor, Racer

MS = 1_000_000


def engines() -> list[psutil.Process]:
    """The engine's processes among our children; other tests may have left theirs behind."""
    ours = psutil.Process().children()
    running = [child for child in ours if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in running if child.name() == "race engine"]


@pytest.fixture
def racer() -> Iterator[Racer]:
    with Racer() as racer:
        yield racer


def sleeper(name: str, offset_ns: int = 0) -> Actor:
    return Actor(name, [sleep_ns(2 * MS, decisive=True)], offset_ns)


def open_null(slot: Slot, *, delay_ns: int = 0) -> Step:
    return openat("/dev/null", os.O_RDWR, into=slot, decisive=True, delay_ns=delay_ns)


def pipe(read_end: Slot, write_end: Slot) -> Step:
    return syscall("pipe2", Memory(bytes(8), loads={0: read_end, 4: write_end}), os.O_CLOEXEC)


def test_every_call_is_recorded_with_its_errno_and_times(racer: Racer) -> None:
    opened, missing = Slot("opened"), Slot("missing")
    program = [
        open_null(opened),
        openat("/nonexistent", os.O_RDONLY, into=missing, decisive=True),
        write(opened, b"abc"),
        close(opened),
    ]
    played = racer.round([], [Actor("alone", program)])
    (calls,) = played.actors
    assert [call.outcome for call in calls] == ["ok", "ENOENT", "ok", "ok"]
    assert calls[2].value == 3
    assert played.outcome == ("ok+ENOENT",)
    times = [time for call in calls for time in (call.start_ns, call.end_ns)]
    assert played.released_ns <= times[0]
    assert times == sorted(times)


def test_a_slot_into_which_a_call_puts_less_than_zero_is_empty(racer: Racer) -> None:
    """As the kernel says in a descriptor's place that there is none, in 32 bits."""
    ends, none = (Slot("read end"), Slot("write end")), Slot("none")
    given = syscall("read", ends[0], Memory(bytes(4), loads={0: none}), 4)
    program = [write(ends[1], b"\xff" * 4), given, read(none, 1, decisive=True)]
    played = racer.round([pipe(*ends)], [Actor("reader", program)], [close(end) for end in ends])
    assert [call.outcome for call in played.actors[0]] == ["ok", "ok", "skipped"]
    assert not played.left_open


def test_two_actors_overlap(racer: Racer) -> None:
    overlapping = 0
    for _ in range(50):
        played = racer.round([], [sleeper("one"), sleeper("other")])
        (one,), (other,) = played.actors
        overlapping += one.start_ns < other.end_ns and other.start_ns < one.end_ns
    assert overlapping >= 45


@pytest.mark.parametrize("late", [0, 1])
def test_the_later_offset_starts_later_and_never_early(racer: Racer, late: int) -> None:
    in_order = 0
    for _ in range(100):
        offsets = [5 * MS if index == late else 0 for index in range(2)]
        played = racer.round([], [sleeper(str(index), offsets[index]) for index in range(2)])
        starts = [calls[0].start_ns - played.released_ns for calls in played.actors]
        assert starts[0] >= offsets[0]
        assert starts[1] >= offsets[1]
        in_order += starts[late] > starts[1 - late]
    assert in_order >= 95


def test_only_differences_between_offsets_count(racer: Racer) -> None:
    played = racer.round([], [sleeper("one", -3 * MS), sleeper("other", -1 * MS)])
    assert played.offsets_ns == (0, 2 * MS)


def test_a_delay_counts_from_the_end_of_the_step_before(racer: Racer) -> None:
    slots = Slot("one"), Slot("other")
    program = [open_null(slots[0], delay_ns=MS), open_null(slots[1], delay_ns=2 * MS)]
    played = racer.round([], [Actor("alone", program)])
    first, second = played.actors[0]
    assert first.start_ns - played.released_ns >= MS
    assert second.start_ns - first.end_ns >= 2 * MS


def test_a_descriptor_opened_by_one_actor_is_used_by_the_other(racer: Racer) -> None:
    read_end, write_end, copy = Slot("read end"), Slot("write end"), Slot("copy")
    giver = [syscall("dup", write_end, into=copy, decisive=True), write(write_end, b"go")]
    taker = [read(read_end, 2), write(copy, b"thanks", decisive=True), close(copy)]
    played = racer.round(
        [pipe(read_end, write_end)],
        [Actor("giver", giver), Actor("taker", taker)],
        [read(read_end, 16), close(read_end), close(write_end)],
    )
    assert played.outcome == ("ok", "ok")
    assert played.epilogue[0].value == len(b"thanks")
    assert played.left_open == ()


def test_steps_that_need_what_a_failed_open_did_not_give_are_skipped(racer: Racer) -> None:
    missing = Slot("missing")
    program = [
        openat("/nonexistent", os.O_RDONLY, into=missing, decisive=True),
        read(missing, 1),
        syscall("write", 1, Memory(bytes(4), stores={0: missing}), 4),
        close(missing),
        sleep_ns(1),
    ]
    played = racer.round([], [Actor("alone", program)])
    outcomes = [call.outcome for call in played.actors[0]]
    assert outcomes == ["ENOENT", "skipped", "skipped", "skipped", "ok"]


def test_a_slot_is_empty_once_it_is_closed_and_when_the_next_round_begins(racer: Racer) -> None:
    slot = Slot("slot")
    played = racer.round([open_null(slot)], [Actor("a", [close(slot), close(slot, decisive=True)])])
    assert played.outcome == ("skipped",)
    racer.round([], [Actor("opens", [open_null(slot)])])
    played = racer.round([], [Actor("closes", [close(slot, decisive=True)])])
    assert played.outcome == ("skipped",)


def test_a_round_shows_nothing_of_the_one_before(racer: Racer) -> None:
    missing = openat("/nonexistent", os.O_RDONLY, into=Slot("missing"), decisive=True)
    assert racer.round([], [Actor("alone", [missing])]).outcome == ("ENOENT",)
    played = racer.round([], [Actor("alone", [read(Slot("empty"), 1, decisive=True)])])
    assert played.outcome == ("skipped",)
    assert played.actors[0][0].start_ns == 0


def test_a_round_is_described_in_microseconds_since_the_release(racer: Racer) -> None:
    played = racer.round([], [sleeper("one"), sleeper("other", 5000)])
    (call,) = played.actors[1]
    start, end = ((time - played.released_ns) / 1000 for time in (call.start_ns, call.end_ns))
    assert played.describe().splitlines()[2:] == [
        "other, to start at 5.0 us",
        f"    sleep 2000000 ns: ok (0), {start:.1f} to {end:.1f} us",
    ]


def test_what_is_left_open_is_closed_and_named(racer: Racer) -> None:
    racer.round([], [sleeper("one"), sleeper("other")])
    (child,) = engines()
    before = child.num_fds()
    for _ in range(3):
        closed, kept, number = Slot("closed"), Slot("kept"), Slot("number", descriptor=False)
        program = [open_null(closed), open_null(kept), write(kept, b"1", into=number)]
        played = racer.round([], [Actor("forgets", program)], [close(closed)])
        assert played.left_open == ("kept",)
    assert child.num_fds() == before


def test_a_prologue_that_uses_an_empty_slot_is_a_mistake_of_the_program(racer: Racer) -> None:
    with pytest.raises(HarnessError, match="read never needs a slot that no call before it fills"):
        racer.round([read(Slot("never"), 1)], [sleeper("alone")])


@pytest.mark.parametrize("actors", [2, 5, 16])
def test_actors_that_share_one_cpu_all_run(actors: int) -> None:
    cpu = min(os.sched_getaffinity(0))
    with Racer(cpus=[cpu]) as racer:
        for _ in range(5):
            played = racer.round([], [sleeper(str(index), index * 1000) for index in range(actors)])
            assert played.outcome == ("ok",) * actors


def test_actors_that_wait_on_a_shared_cpu_let_the_others_run() -> None:
    seconds = []
    with Racer(cpus=[min(os.sched_getaffinity(0))]) as racer:
        for _ in range(10):
            began = time.monotonic()
            racer.round([], [sleeper(str(index)) for index in range(16)])
            seconds.append(time.monotonic() - began)
    # Each that spins at the barrier without yielding costs a time slice of milliseconds.
    assert min(seconds) < 0.02


def test_rounds_with_more_and_fewer_actors_take_turns(racer: Racer) -> None:
    for actors in (1, 3, 0, 16, 2, 3):
        played = racer.round([], [sleeper(str(index)) for index in range(actors)])
        assert played.outcome == ("ok",) * actors


def test_actors_stay_on_the_cpus_they_were_given() -> None:
    cpus = sorted(os.sched_getaffinity(0))
    with Racer() as racer:
        racer.round([], [sleeper("one"), sleeper("other")])
        (child,) = engines()
        threads = sorted(thread.id for thread in child.threads() if thread.id != child.pid)
        kept = [os.sched_getaffinity(thread) for thread in threads]
    assert kept == [{cpus[0]}, {cpus[1 % len(cpus)]}]


def test_actors_are_spread_over_the_cpus_that_there_are_when_a_round_begins(racer: Racer) -> None:
    """One may go meanwhile, as one does under ``--race-widen=hotplug``."""
    before = sorted(os.sched_getaffinity(0))
    racer.round([], [sleeper("one"), sleeper("other")])
    os.sched_setaffinity(0, before[-1:])
    try:
        racer.round([], [sleeper("one"), sleeper("other")])
    finally:
        os.sched_setaffinity(0, before)
    (child,) = engines()
    threads = [thread.id for thread in child.threads() if thread.id != child.pid]
    assert [os.sched_getaffinity(thread) for thread in threads] == [{before[-1]}] * 2


def test_a_cpu_that_is_not_there_is_an_error() -> None:
    with Racer(cpus=[4095]) as racer, pytest.raises(HarnessError, match="CPU 4095"):
        racer.round([], [sleeper("alone")])
