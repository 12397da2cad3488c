"""Races over a span of offsets: each round draws its own, uniformly, from a seed."""

import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from vfio_hw.errors import HarnessError, KernelSplat
from vfio_hw.race.outcome import Round
from vfio_hw.race.program import Step
from vfio_hw.race.racer import Actor, Racer

# Which rounds are legal: a set of outcomes, or a judge that says what is wrong with a round.
Legal = Collection[tuple[str, ...]] | Callable[[Round], str | None]


@dataclass(frozen=True)
class Scene:
    """One round's programs, over a world that was just prepared for them."""

    prologue: Sequence[Step]
    actors: Sequence[Actor]
    epilogue: Sequence[Step] = ()


@dataclass
class RaceResult:
    """What a race came to.

    :param seconds: the time it took, the preparation of the scenes included.
    :param left_open: how often the programs left which slot open.
    """

    seed: int
    rounds: int = 0
    seconds: float = 0.0
    outcomes: Counter[tuple[str, ...]] = field(default_factory=Counter)
    left_open: Counter[str] = field(default_factory=Counter)

    @property
    def rounds_per_second(self) -> float:
        """Rounds over seconds, scenes included."""
        return self.rounds / self.seconds


def race(
    racer: Racer,
    scene: Callable[[], Scene],
    *,
    budget_seconds: float,
    seed: int,
    window_ns: int,
    legal: Legal,
) -> RaceResult:
    """Runs rounds until the budget is spent; every outcome was legal.

    In each round the first actor keeps its offset, and each other one's is moved by up to
    ``window_ns`` either way. The same seed draws the same offsets.

    :param scene: prepares the world for one round and returns the programs.
    :raises KernelSplat: an outcome that is not legal, or a hang; says round, seed and offsets.
    :raises HarnessError: not one round ran.
    """
    draw = random.Random(seed)
    result = RaceResult(seed)
    began = time.monotonic()
    while result.seconds < budget_seconds:
        result.rounds += 1
        prepared = scene()
        actors = _spread(prepared.actors, draw, window_ns)
        played = _play(racer, prepared, actors, result)
        result.outcomes[played.outcome] += 1
        result.left_open.update(played.left_open)
        complaint = _complaint(played, legal)
        if complaint:
            raise KernelSplat(
                f"{_title(actors)}: {complaint}\n{_where(actors, result)}\n{played.describe()}",
                oracle="outcome",
            )
        result.seconds = time.monotonic() - began
    if not result.rounds:
        raise HarnessError(f"no round fits in {budget_seconds:g} s: give the race some time")
    return result


def _spread(actors: Sequence[Actor], draw: random.Random, window_ns: int) -> list[Actor]:
    return [
        replace(actor, offset_ns=actor.offset_ns + draw.randint(-window_ns, window_ns))
        if index
        else actor
        for index, actor in enumerate(actors)
    ]


def _play(racer: Racer, scene: Scene, actors: Sequence[Actor], result: RaceResult) -> Round:
    try:
        return racer.round(scene.prologue, actors, scene.epilogue)
    except KernelSplat as hang:
        raise KernelSplat(f"{hang}\n{_title(actors)}: {_where(actors, result)}") from None


def _complaint(played: Round, legal: Legal) -> str | None:
    if callable(legal):
        return legal(played)
    if played.outcome in legal:
        return None
    return f"outcome ({', '.join(played.outcome)}) is not legal"


def _title(actors: Sequence[Actor]) -> str:
    return " against ".join(actor.name for actor in actors)


def _where(actors: Sequence[Actor], result: RaceResult) -> str:
    offsets = ", ".join(f"{actor.name} {actor.offset_ns} ns" for actor in actors)
    return f"round {result.rounds}, seed {result.seed}, offsets: {offsets}"
