"""What tells two rounds apart: their outcomes, and which of the calls waited."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from vfio_hw.race.outcome import Round

# Two classes of durations are two when they explain this much of the variance of the logarithms
# (of a uniform distribution any split explains 0.75, of a normal one 0.64), when their middles lie
# so far apart, and when neither is a handful of rounds that the host disturbed.
EXPLAINED = 0.85
APART = 1.5
APART_NS = 30_000  # less than this is no wait: a sleep and a wake-up take longer
SMALLEST = 0.1

# They say something of the race when rounds beside each other are of the same class: of the pairs
# of neighbours that would not be by chance, this many.
ORDERED = 0.5

FEWEST = 3
LEARNT_FROM = 12
REMEMBERED = 256

# An actor and a step of its program, and the outcome of that call.
Kind = tuple[int, int, str]


@dataclass(frozen=True)
class Seen:
    """What is kept of a round: its outcome, and how long each decisive call that ran took."""

    outcome: tuple[str, ...]
    durations: tuple[tuple[Kind, str, int], ...] = ()

    @classmethod
    def of(cls, played: Round) -> "Seen":
        """Of a round that was played."""
        return cls(
            played.outcome,
            tuple(
                ((actor, step, call.outcome), call.step.label, call.end_ns - call.start_ns)
                for actor, calls in enumerate(played.actors)
                for step, call in enumerate(calls)
                if call.step.decisive and call.start_ns
            ),
        )


@dataclass(frozen=True)
class Signature:
    """Rounds that went alike have the same.

    :param waited: the labels of the calls that took the longer of the two times that they take.
    """

    outcome: tuple[str, ...]
    waited: tuple[str, ...] = ()

    def __str__(self) -> str:
        waits = f", {' and '.join(self.waited)} waited" if self.waited else ""
        return " / ".join(self.outcome) + waits


class Latencies:
    """Learns, for each call, from when on its duration means that it waited for something.

    Once a call was seen to have two classes of durations, where they part is not moved again.
    """

    def __init__(self) -> None:
        self._seen: dict[Kind, list[tuple[int, int]]] = {}  # offset and duration
        self._from: dict[Kind, int] = {}

    def learn(self, offset: int, seen: Seen) -> bool:
        """Take in a round at a place that no edge was the reason for.

        :return: whether signatures are told differently from now on.
        """
        changed = False
        for kind, _, duration in seen.durations:
            if kind in self._from:
                continue
            known = self._seen.setdefault(kind, [])
            known.append((offset, duration))
            del known[:-REMEMBERED]
            if len(known) >= LEARNT_FROM and len(known) % (LEARNT_FROM // 2) == 0:
                split = two_classes([duration for _, duration in known])
                if split is not None and in_order([long >= split for _, long in sorted(known)]):
                    self._from[kind] = split
                    changed = True
        return changed

    def signature(self, seen: Seen) -> Signature:
        """The round's signature, as far as was learnt by now."""
        waited = [
            label
            for kind, label, duration in seen.durations
            if kind in self._from and duration >= self._from[kind]
        ]
        return Signature(seen.outcome, tuple(waited))


def two_classes(durations: Sequence[int]) -> int | None:
    """Where durations fall into a short and a long class: the shortest of the long ones, or None.

    The split is the one that leaves the least variance within the classes (Otsu's), if it is good.
    """
    logs = sorted(math.log(max(duration, 1)) for duration in durations)
    count, total = len(logs), sum(logs)
    mean = total / count
    variance = sum((value - mean) ** 2 for value in logs)
    fewest = max(FEWEST, math.ceil(SMALLEST * count))
    best, where, below = 0.0, 0, sum(logs[: fewest - 1])
    for low in range(fewest, count - fewest + 1):
        below += logs[low - 1]
        between = (below / low - mean) ** 2 * low
        between += ((total - below) / (count - low) - mean) ** 2 * (count - low)
        if between > best:
            best, where = between, low
    if not where or best < EXPLAINED * variance:
        return None
    short, long = (math.exp(logs[index]) for index in (where // 2, (where + count) // 2))
    if long < APART * short or long < short + APART_NS:
        return None
    return round(math.exp(logs[where]))


def in_order(long: Sequence[bool]) -> bool:
    """Whether neighbours are alike more often than rounds that were put together by chance."""
    part = sum(long) / len(long)
    by_chance = part**2 + (1 - part) ** 2
    alike = sum(one == other for one, other in pairwise(long)) / (len(long) - 1)
    return alike >= by_chance + ORDERED * (1 - by_chance)
