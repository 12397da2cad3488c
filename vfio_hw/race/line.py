"""All edges of a race along one line of offsets: found, followed, and given rounds in turn.

A few rounds spread over the line (scouts) show where signatures differ; between two that do there
is an edge. Later scouts, one round in some, go on to look elsewhere for edges not yet known.
"""

import random
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from vfio_hw.race.edge import NEAR_NS, RESOLUTION_NS, Edge

SWEEP = 12  # scouts, one in every part of the line
SWEEP_EVERY = 3
FIRST = 6  # of them before anything else; a race that has few rounds wants an edge soon
SCOUT_EVERY = 6  # rounds: the part that is spent elsewhere
SCOUTS = 64  # remembered: what was seen longer ago may have drifted
EDGES = 8  # at most, at a time
UNPROVEN_EVERY = 3  # of so many rounds one is for what may prove to be no edge
FOUND = 2  # rounds near to an edge that was proven before make it one that was found
DOUBTS = 2  # rounds spent on a scout that stands alone

# So near to an edge a scout says nothing that the rounds at the edge do not.
MARGIN_NS = 2 * NEAR_NS


@dataclass(eq=False)
class Scout:
    """A round somewhere on the line."""

    offset: int
    seen: Any
    doubts: int = 0


@dataclass(frozen=True)
class _Point:
    offset: int
    signature: Hashable
    scout: Scout | None  # None: the side of an edge


class Line:
    """Asks for offsets from ``-window_ns`` to ``window_ns`` and is told what was seen there.

    What it asks depends on nothing but ``draw`` and what it was told.

    :param signature: the signature of what was seen; may say another one later.
    """

    def __init__(
        self, window_ns: int, draw: random.Random, signature: Callable[[Any], Hashable]
    ) -> None:
        self.window_ns = window_ns
        self.edges: list[Edge] = []
        self.found: list[Edge] = []
        self._draw = draw
        self._signature = signature
        self._scouts: list[Scout] = []
        self._suspects: list[Scout] = []
        self._asked: Edge | Scout | None = None
        self._turn = 0
        stratum = 2 * window_ns // SWEEP
        self._sweep = [
            -window_ns + index * stratum + draw.randint(0, stratum) for index in range(SWEEP)
        ]
        draw.shuffle(self._sweep)

    def ask(self) -> int:
        """Where the next round should be."""
        self._asked = None
        self._turn += 1
        looking = not (self.edges or self._suspects) or self._turn % SWEEP_EVERY == 0
        if self._sweep and (looking or self._turn <= FIRST):
            return self._sweep.pop()
        if not (self.edges or self._suspects) or self._turn % SCOUT_EVERY == 0:
            return self._draw.randint(-self.window_ns, self.window_ns)
        if self._suspects:
            self._asked = self._suspects[0]
            return self._suspects[0].offset
        self._asked = edge = self._next_edge()
        return max(-self.window_ns, min(self.window_ns, edge.ask(self._draw)))

    def tell(self, offset: int, seen: Any) -> None:
        """What was seen in the round asked for, and where it really was."""
        asked, signature = self._asked, self._signature(seen)
        for edge in self.edges:
            if edge.proven and abs(offset - edge.position) <= NEAR_NS:
                edge.near += 1
        if isinstance(asked, Edge) and self._concerns(asked, offset):
            self._follow(asked, offset, signature)
        elif abs(offset) <= self.window_ns:
            self._scouts.append(Scout(offset, seen))
            del self._scouts[:-SCOUTS]
            if isinstance(asked, Scout) and abs(offset - asked.offset) <= MARGIN_NS:
                asked.doubts += 1
        if self._turn >= FIRST:
            self._look()

    def fewest(self) -> Edge | None:
        """The edge that is held and had the fewest rounds near to it."""
        held = [edge for edge in self.edges if edge.held]
        return min(held, key=lambda edge: edge.near, default=None)

    @property
    def scouting(self) -> bool:
        """Whether the round asked for looks around, and is not one at an edge."""
        return self._asked is None

    def near(self, offset: int) -> bool:
        """Whether a round there is at an edge that is held, and not by mere chance."""
        return any(edge.proven and abs(offset - edge.position) <= NEAR_NS for edge in self.edges)

    def _next_edge(self) -> Edge:
        """Of those that are held, and of those that may prove to be none, in turn."""
        held = [edge for edge in self.edges if edge.proven]
        unproven = [edge for edge in self.edges if not edge.proven]
        choice = unproven if unproven and (self._turn % UNPROVEN_EVERY == 1 or not held) else held
        return min(choice, key=lambda edge: edge.turns)

    @staticmethod
    def _concerns(edge: Edge, offset: int) -> bool:
        if edge.bisecting:
            return edge.low < offset < edge.high
        return abs(offset - edge.position) <= MARGIN_NS

    def _follow(self, edge: Edge, offset: int, signature: Hashable) -> None:
        before = edge.position
        third = edge.tell(offset, signature)
        if third is not None and not self._known(edge, third):
            low = edge.low if edge.bisecting else edge.position - RESOLUTION_NS
            high = edge.high if edge.bisecting else edge.position + RESOLUTION_NS
            self.edges.remove(edge)
            self.edges.append(Edge(low, offset, edge.left, third))
            self.edges.append(Edge(offset, high, third, edge.right))
            return
        if edge.proven and edge.near >= FOUND and edge not in self.found:
            self.found.append(edge)
        if not edge.bisecting:
            # What was seen where the edge has passed since is no longer so.
            first, last = sorted((before, edge.position))
            self._scouts = [
                scout
                for scout in self._scouts
                if not first - MARGIN_NS <= scout.offset <= last + MARGIN_NS
            ]
            if edge.lost or abs(edge.position) > self.window_ns or self._twice(edge):
                self._forget(edge)

    def _forget(self, edge: Edge) -> None:
        """It was none, or is no more: nor can be trusted what made it look like one."""
        self.edges.remove(edge)
        low = min(edge.first_low, edge.position) - MARGIN_NS
        high = max(edge.first_high, edge.position) + MARGIN_NS
        self._scouts = [
            scout
            for scout in self._scouts
            if not (low <= scout.offset <= high and self._signature(scout.seen) in edge.unseen)
        ]

    def _known(self, edge: Edge, signature: Hashable) -> bool:
        """Whether an edge close by is the edge of that signature already."""
        return any(
            other.side(signature) and abs(other.position - edge.position) <= 2 * MARGIN_NS
            for other in self.edges
        )

    def _twice(self, edge: Edge) -> bool:
        return any(
            other is not edge
            and (other.left, other.right) == (edge.left, edge.right)
            and not other.bisecting
            and other.near >= edge.near
            and abs(other.position - edge.position) <= NEAR_NS
            for other in self.edges
        )

    def _look(self) -> None:
        """Find pairs of neighbours that differ and have no edge between them."""
        self._scouts = [scout for scout in self._scouts if scout.doubts <= DOUBTS]
        self._suspects = []
        for points in list(self._zones()):
            for index, (one, other) in enumerate(pairwise(points)):
                if one.signature == other.signature:
                    continue
                alone = [
                    point.scout
                    for point, beside in ((one, index - 1), (other, index + 2))
                    if point.scout is not None and not _backed(point, points, beside)
                ]
                if alone and not self._sweep:
                    self._suspects += alone
                elif len(self.edges) < EDGES:
                    self.edges.append(
                        Edge(one.offset, other.offset, one.signature, other.signature)
                    )

    def _zones(self) -> Iterator[list[_Point]]:
        """What is known of the stretches between edges, each in the order of offsets."""
        scouts = sorted(self._scouts, key=lambda scout: scout.offset)
        edges = sorted(self.edges, key=lambda edge: edge.position)
        start, points = -self.window_ns - 1, list[_Point]()
        for edge in edges:
            low = edge.low if edge.bisecting else edge.position - MARGIN_NS
            high = edge.high if edge.bisecting else edge.position + MARGIN_NS
            known = edge.proven and not self._beside(edge)
            if low > start:
                points += self._points(scouts, start, low)
                yield [*points, *([_Point(low, edge.left, None)] if known else [])]
            start = max(high, start)
            points = [_Point(high, edge.right, None)] if known else []
        yield [*points, *self._points(scouts, start, self.window_ns + 1)]

    def _beside(self, edge: Edge) -> bool:
        """Whether there is another edge so close that the two may have changed places."""
        return any(
            other is not edge and abs(other.position - edge.position) <= 2 * MARGIN_NS
            for other in self.edges
        )

    def _points(self, scouts: list[Scout], start: int, end: int) -> list[_Point]:
        return [
            _Point(scout.offset, self._signature(scout.seen), scout)
            for scout in scouts
            if start < scout.offset < end
        ]


def _backed(point: _Point, points: list[_Point], beside: int) -> bool:
    """Whether the neighbour away from the change shows the same."""
    return 0 <= beside < len(points) and points[beside].signature == point.signature
