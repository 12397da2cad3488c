"""This file checks that edges are found, followed and given rounds, on made-up outcomes."""

import math
import random
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import pytest

from vfio_hw.race.edge import NEAR_NS
from vfio_hw.race.line import Line

WINDOW = 1_500_000
ROUNDS = 400


class World:
    """Outcomes that change at edges, which may drift, are blurred, and are covered by noise.

    :ivar near: for each round whether it was near to an edge.
    """

    def __init__(
        self,
        edges: Sequence[int],
        *,
        noise: float = 0.0,
        blur_ns: int = 5_000,
        drift: Callable[[int], int] = lambda _: 0,
        seed: int = 1,
    ) -> None:
        self.edges, self.noise, self.blur_ns, self.drift = edges, noise, blur_ns, drift
        self.near: list[bool] = []
        self.asked: list[int] = []
        self._draw = random.Random(seed + 1000)
        self.line = Line(WINDOW, random.Random(seed), lambda seen: seen)

    def run(self, rounds: int = ROUNDS) -> "World":
        for _ in range(rounds):
            asked = self.line.ask()
            offset = asked + round(abs(self._draw.gauss(0, 1500)))
            places = self.now()
            self.asked.append(asked)
            self.near.append(any(abs(offset - place) <= NEAR_NS for place in places))
            self.line.tell(offset, self._outcome(offset, places))
        return self

    def now(self) -> list[int]:
        """Where the edges are."""
        return [place + self.drift(len(self.near)) for place in self.edges]

    def share(self, last: int = ROUNDS) -> float:
        """Of the last rounds, those near to an edge."""
        return sum(self.near[-last:]) / min(last, len(self.near))

    def _outcome(self, offset: int, places: Sequence[int]) -> Any:
        if self._draw.random() < self.noise:
            return self._draw.choice(["slow", "EAGAIN", 0])
        return sum(offset + self._draw.gauss(0, self.blur_ns) > place for place in places)


def positions(world: World) -> list[int]:
    return sorted(edge.position for edge in world.line.edges if edge.proven)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "edges",
    [[300_000], [-1_300_000], [-700_000, 100_000, 230_000], [-1.2e6, -6e5, 0, 5e5, 1e6]],
    ids=len,
)
def test_every_edge_is_found_and_most_rounds_are_at_one(edges: list[int], seed: int) -> None:
    world = World(edges, seed=seed).run()
    assert positions(world) == pytest.approx(edges, abs=NEAR_NS)
    assert world.share(200) > 0.75
    sides = [(edge.left, edge.right) for edge in sorted(world.line.edges, key=lambda e: e.position)]
    assert sides == [(index, index + 1) for index in range(len(edges))]


def test_an_edge_is_found_within_a_second_of_rounds() -> None:
    found = [World([417_000], seed=seed).run(30).near.index(True) for seed in range(8)]
    assert max(found) < 20


def test_rounds_that_go_wrong_by_chance_make_no_edges() -> None:
    shares = []
    for seed in range(8):
        world = World([-250_000], noise=0.05, seed=seed).run()
        assert positions(world) == pytest.approx([-250_000], abs=NEAR_NS)
        assert positions(World([], noise=0.05, seed=seed).run()) == []
        shares.append(world.share())
    assert median(shares) > 0.7
    assert min(shares) > 0.3


def test_without_an_edge_the_whole_line_is_looked_at() -> None:
    world = World([]).run()
    assert world.line.edges == world.line.found == []
    strata = {(offset + WINDOW) * 20 // (2 * WINDOW) for offset in world.asked}
    assert set(range(20)) <= strata


@pytest.mark.parametrize(
    ("drift", "least"),
    [
        (lambda turn: 300 * turn, 0.7),
        (lambda turn: -500 * turn, 0.7),
        (lambda turn: round(100_000 * math.sin(turn / 60)), 0.55),
        (lambda turn: 400_000 if turn > 150 else 0, 0.6),
    ],
    ids=["later", "earlier", "to and fro", "jump"],
)
def test_an_edge_that_drifts_is_followed(drift: Callable[[int], int], least: float) -> None:
    for seed in range(4):
        world = World([-200_000], drift=drift, seed=seed).run()
        assert positions(world) == pytest.approx(world.now(), abs=2 * NEAR_NS)
        assert world.share() > least


def test_a_thin_outcome_between_two_others_is_found_at_the_edge_of_the_two() -> None:
    world = World([100_000, 112_000]).run()
    assert {(edge.left, edge.right) for edge in world.line.found} >= {(0, 1), (1, 2)}
    assert world.share(200) > 0.7


def test_an_edge_that_is_gone_is_forgotten_and_the_line_looked_at_anew() -> None:
    world = World([200_000]).run(100)
    assert len(positions(world)) == 1
    world.edges = []
    world.run(200)
    assert world.line.edges == []
    world.edges = [-900_000]
    world.run(100)
    assert positions(world) == pytest.approx([-900_000], abs=NEAR_NS)


def test_a_part_of_the_rounds_is_elsewhere_all_the_time() -> None:
    world = World([300_000]).run()
    far = [offset for offset in world.asked[100:] if abs(offset - 300_000) > 100_000]
    assert len(far) > 0.1 * (ROUNDS - 100)
    assert min(far) < -1_000_000
    assert max(far) > 1_000_000


def test_the_same_seed_and_outcomes_ask_the_same_and_another_seed_does_not() -> None:
    asked = [World([300_000, 700_000], noise=0.03, seed=seed).run().asked for seed in (5, 5, 6)]
    assert asked[0] == asked[1]
    assert asked[0] != asked[2]


def test_a_round_that_began_late_counts_where_it_was() -> None:
    """A host that takes the CPU away moves a round by milliseconds."""
    world = World([300_000]).run(100)
    for _ in range(50):
        world.line.ask()
        world.line.tell(300_000 + 2_000_000, 1)
    world.run(50)
    assert positions(world) == pytest.approx([300_000], abs=NEAR_NS)
