"""Races at their edges: the offsets of the rounds are sought where outcomes flip.

What a round comes to, as a function of the offsets, is piecewise constant, and where it changes
the kernel decides the race: there a window of microseconds is met. Offsets drawn at random from
milliseconds waste nearly every round.
"""

import random
from collections.abc import Callable, Collection, Sequence

from vfio_hw.race.again import About, Recorded
from vfio_hw.race.leads import Leads
from vfio_hw.race.line import Line
from vfio_hw.race.outcome import Round
from vfio_hw.race.racer import Actor, Racer
from vfio_hw.race.signature import Latencies, Seen
from vfio_hw.race.spread import (
    FEWEST_UNMET,
    Chooser,
    EdgeFound,
    Judge,
    RaceResult,
    Scene,
    Tell,
    hold,
)

# Of more than two actors: one round in so many moves all of them at once.
ALL_EVERY = 4


class Seeker:
    """Chooses offsets; along a line for each actor but the first, the others being where they were.

    With the same seed, the same outcomes at the same offsets lead to the same choices.

    :ivar near: the rounds within :data:`~vfio_hw.race.edge.NEAR_NS` of an edge that was proven.
    """

    def __init__(self, seed: int, window_ns: int) -> None:
        self.seed, self.window_ns = seed, window_ns
        self.near = 0
        self._draw = random.Random(seed)
        self._latencies = Latencies()
        self._leads = Leads()
        self._names: list[str] = []
        self._lines: list[Line] = []
        self._turn = -1
        self._single = 0
        self._asked: int | None = None

    def choose(self, actors: Sequence[Actor]) -> list[int]:
        """By how much each actor's offset is moved in the next round, in nanoseconds."""
        while len(self._lines) < len(actors) - 1:
            self._names.append(actors[len(self._lines) + 1].name)
            self._lines.append(Line(self.window_ns, self._draw, self._latencies.signature))
        shifts, self._asked = [0] * len(actors), None
        if len(actors) < 2:
            return shifts
        self._turn += 1
        if len(actors) > 2 and self._turn % ALL_EVERY == ALL_EVERY - 1:
            places = [self._somewhere(line) for line in self._lines]
            return [0, *(self._shift(1 + index, place) for index, place in enumerate(places))]
        self._asked = self._single % len(self._lines)
        self._single += 1
        shifts[1 + self._asked] = self._shift(1 + self._asked, self._lines[self._asked].ask())
        return shifts

    def place(self, index: int, shifts: Sequence[int], played: Round) -> int:
        """Where on the line of that actor a round really was."""
        late = self._leads.late(index, played) - self._leads.late(0, played)
        return shifts[index] - shifts[0] + late

    def at_edge(self, shifts: Sequence[int], played: Round) -> bool:
        """Whether a round of two actors, whoever chose its offsets, was at an edge."""
        return any(line.near(self.place(1, shifts, played)) for line in self._lines[:1])

    def tell(self, actors: Sequence[Actor], shifts: Sequence[int], played: Round) -> None:
        """What came of the round."""
        seen = Seen.of(played)
        if self._asked is None:
            return
        index = self._asked + 1
        offset = self.place(index, shifts, played)
        self._leads.learn(played)
        line = self._lines[self._asked]
        if line.scouting:
            self._latencies.learn(offset, seen)
        self.near += line.near(offset)
        line.tell(offset, seen)

    def found(self) -> list[EdgeFound]:
        """Every edge that was found, and whether it is held now."""
        return [
            EdgeFound(name, edge.position, str(edge.left), str(edge.right), edge.near, now)
            for name, line in zip(self._names, self._lines, strict=True)
            for edge in line.found
            for now in [edge in line.edges and edge.held]
        ]

    def _shift(self, actor: int, place: int) -> int:
        """What brings it there, if all take as long as they do of late."""
        return place - self._leads.longer(actor) + self._leads.longer(0)

    def _somewhere(self, line: Line) -> int:
        """At an edge of this line, half the time, to meet one there while another is at its own."""
        edge = line.fewest()
        if edge is not None and self._draw.random() < 0.5:
            return edge.ask(self._draw)
        return self._draw.randint(-self.window_ns, self.window_ns)


def seek(
    racer: Racer,
    scene: Callable[[], Scene],
    seeker: Seeker,
    *,
    budget_seconds: float,
    legal: Collection[tuple[str, ...]],
    judge: Judge | None = None,
    tell: Tell = lambda _: None,
    has_to_meet: bool = True,
    unmet_seconds: float = 0.0,
    again: Recorded | None = None,
) -> RaceResult:
    """See :func:`vfio_hw.race.spread.hold`; the offsets are sought at the edges of the race.

    :param again: a failure that is run again instead, about the offsets at which it happened, if
        those are known, and for twice its rounds, at least a hundred.
    :return: with the edges that were found, and the rounds that were at one.
    """
    chooser: Chooser = seeker
    if again is not None and again.offsets_ns is not None:
        chooser = About(again.offsets_ns, seeker.seed, again.most_widths)
    result = hold(
        racer,
        scene,
        chooser,
        budget_seconds=budget_seconds,
        seed=seeker.seed,
        window_ns=seeker.window_ns,
        legal=legal,
        judge=judge,
        tell=tell,
        has_to_meet=has_to_meet or again is not None,
        fewest_unmet=FEWEST_UNMET,
        unmet_seconds=unmet_seconds,
        most=None if again is None else again.most_rounds,
    )
    result.near = seeker.near
    result.edges = seeker.found()
    return result
