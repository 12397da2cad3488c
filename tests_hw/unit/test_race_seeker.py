"""This file checks that a race is sought at its edge: here, of a write to a pipe and a read."""

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from vfio_hw.race.leads import Leads, lateness_ns
from vfio_hw.race.outcome import Call, Round
from vfio_hw.race.program import Memory, Slot, read, sleep_ns, syscall, write
from vfio_hw.race.racer import Actor, Racer
from vfio_hw.race.seeker import Seeker, seek
from vfio_hw.race.spread import FEWEST_UNMET, Scene

WINDOW_NS = 1_000_000
OUTCOMES = {("ok", "ok"), ("ok", "EAGAIN")}


@pytest.fixture
def racer() -> Iterator[Racer]:
    with Racer() as racer:
        yield racer


def scene() -> Scene:
    """The reader gets what was written before it, and EAGAIN when nothing was."""
    ends = Slot("read end"), Slot("write end")
    pipe = syscall("pipe2", Memory(bytes(8), loads={0: ends[0], 4: ends[1]}), os.O_NONBLOCK)
    return Scene(
        [pipe],
        [
            Actor("writer", [write(ends[1], b"x", decisive=True), sleep_ns(1_000_000)]),
            Actor("reader", [read(ends[0], 1, decisive=True)]),
        ],
        [syscall("close", ends[0], takes=True), syscall("close", ends[1], takes=True)],
    )


def test_the_edge_of_a_race_is_found_and_the_rounds_are_at_it(racer: Racer) -> None:
    result = seek(racer, scene, Seeker(1, WINDOW_NS), budget_seconds=4.0, legal=OUTCOMES)
    flips = [edge for edge in result.edges if "EAGAIN" in edge.left and "EAGAIN" not in edge.right]
    edge = max(flips, key=lambda edge: edge.rounds)
    assert edge.actor == "reader"
    assert abs(edge.position_ns) < 100_000
    assert result.near >= edge.rounds > 0.15 * result.rounds
    assert min(result.outcomes.values()) > 0.1 * result.rounds
    assert set(result.outcomes) == OUTCOMES


def test_of_a_slow_pair_that_nobody_meets_time_is_the_end_not_rounds(racer: Racer) -> None:
    def apart() -> Scene:
        near = scene()
        writer, reader = near.actors
        return replace(near, actors=[writer, replace(reader, offset_ns=100_000_000)])

    result = seek(
        racer,
        apart,
        Seeker(1, 1000),
        budget_seconds=1e-9,
        legal=OUTCOMES,
        has_to_meet=False,
        unmet_seconds=0.3,
    )
    assert not result.met
    assert 1 < result.rounds < FEWEST_UNMET


def played(*starts_ns: int) -> Round:
    """A round of actors that were all due at 0, with one call each, at these times."""
    program = sleep_ns(1, decisive=True)
    calls = tuple((Call(program, "ok", 0, 0, start, start + 1),) for start in starts_ns)
    names = tuple(str(index) for index in range(len(starts_ns)))
    return Round(names, (0,) * len(starts_ns), (), calls, (), 0, ())


def actors(count: int) -> list[Actor]:
    return [Actor(str(index), [sleep_ns(1, decisive=True)]) for index in range(count)]


def test_an_actor_is_late_by_what_it_began_after_its_time_and_its_first_delay() -> None:
    call = played(5_000).actors[0][0]
    assert lateness_ns([call], 3_000) == 2_000
    assert lateness_ns([call], 6_000) == 0
    delayed = replace(call, step=replace(call.step, delay_ns=1_500))
    assert lateness_ns([delayed], 3_000) == 500
    assert lateness_ns([], 3_000) == 0
    assert lateness_ns([replace(call, start_ns=0, outcome="skipped")], 3_000) == 0


def test_of_three_actors_one_moves_at_a_time_and_in_some_rounds_all() -> None:
    seeker = Seeker(1, WINDOW_NS)
    moved = []
    for _ in range(40):
        shifts = seeker.choose(actors(3))
        assert shifts[0] == 0
        moved.append(tuple(bool(shift) for shift in shifts[1:]))
        seeker.tell(actors(3), shifts, played(1, 1, 1))
    assert moved.count((True, False)) == 15
    assert moved.count((False, True)) == 15
    assert moved.count((True, True)) == 10


def test_one_actor_alone_is_not_moved() -> None:
    seeker = Seeker(1, WINDOW_NS)
    assert seeker.choose(actors(1)) == [0]
    seeker.tell(actors(1), [0], played(1))
    assert seeker.found() == []


def test_a_round_was_where_the_calls_began_that_matter() -> None:
    """The second actor opens a file first, for longer every time, and then does what takes long."""
    opens, writes = sleep_ns(1, decisive=True), sleep_ns(2, decisive=True)
    leads = Leads()

    def round_of(opening_ns: int) -> Round:
        second = (
            Call(opens, "ok", 0, 0, 1, 1 + opening_ns),
            Call(writes, "ok", 0, 0, 1 + opening_ns, 900_000),
        )
        first = (Call(writes, "ok", 0, 0, 1, 2),)
        return Round(("a", "b"), (0, 0), (), (first, second), (), 0, ())

    for disturbed in (0, 3_000_000, 700_000, 0, 5_000_000):
        leads.learn(round_of(100_000 + disturbed))
    assert leads.late(1, round_of(100_000)) == 0
    assert leads.late(1, round_of(130_000)) == 30_000
    assert leads.late(0, round_of(130_000)) == 0
    for _ in range(15):
        leads.learn(round_of(100_000))
    assert leads.longer(1) == 0
    for _ in range(15):
        leads.learn(round_of(160_000))
    assert leads.longer(1) == 60_000
    assert leads.longer(0) == 0


def test_an_actor_that_did_not_come_to_its_call_is_placed_by_its_start() -> None:
    opens, writes = sleep_ns(1, decisive=True), sleep_ns(2, decisive=True)
    leads = Leads()
    whole = (Call(opens, "ok", 0, 0, 1, 9), Call(writes, "ok", 0, 0, 9, 900))
    refused = (Call(opens, "ENOENT", -1, 2, 501, 509), Call(writes, "skipped", 0, 0, 0, 0))
    for _ in range(5):
        leads.learn(Round(("a",), (0,), (), (whole,), (), 0, ()))
    assert leads.late(0, Round(("a",), (0,), (), (refused,), (), 0, ())) == 501
