"""Races: rounds at offsets that somebody chooses, until the budget is spent."""

import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import dropwhile, pairwise
from typing import Protocol

from vfio_hw.errors import HarnessError, KernelSplat
from vfio_hw.race.failure import Failure
from vfio_hw.race.outcome import Round
from vfio_hw.race.program import Memory
from vfio_hw.race.racer import Actor, Racer
from vfio_hw.race.scene import Scene as Scene
from vfio_hw.uapi import ffi
from vfio_hw.uapi.calls import note

# Says what is wrong with a round whose outcome is legal; None when nothing is.
Judge = Callable[[Round], str | None]

# Is told of a race.
Tell = Callable[[Failure], None]

# A race in which nobody met anybody goes on for so many times its budget at least, and so many
# rounds, each of which may take as long on a busy machine; it is an error then.
PATIENCE = 4
_LEAST_ROUNDS = 10
#: One that need not be met, but is to be, goes on for so many rounds at least.
FEWEST_UNMET = 20


@dataclass(frozen=True)
class EdgeFound:
    """An offset at which rounds began to go another way.

    :param actor: the one that was moved; the others were where the scene put them.
    :param position_ns: how far it was moved, when the edge was last seen.
    :param left: how rounds go before it; ``right``: after it.
    :param rounds: the rounds near to it once it was proven.
    :param held: whether it was when the race ended.
    """

    actor: str
    position_ns: int
    left: str
    right: str
    rounds: int
    held: bool


@dataclass
class RaceResult:
    """What a race came to.

    :param met: the rounds in which two actors were at it at the same time.
    :param near: the rounds at an edge; ``edges``: those that were found. Only of a race that seeks.
    :param seconds: the time it took, the preparation of the scenes included.
    :param left_open: how often the programs left which slot open.
    """

    seed: int
    rounds: int = 0
    met: int = 0
    seconds: float = 0.0
    outcomes: Counter[tuple[str, ...]] = field(default_factory=Counter)
    left_open: Counter[str] = field(default_factory=Counter)
    near: int = 0
    edges: list[EdgeFound] = field(default_factory=list)

    @property
    def rounds_per_second(self) -> float:
        """Rounds over seconds, scenes included."""
        return self.rounds / self.seconds


class Chooser(Protocol):
    """Chooses how far each actor's offset is moved in each round, and is told what came of it."""

    def choose(self, actors: Sequence[Actor]) -> list[int]: ...

    def tell(self, actors: Sequence[Actor], shifts: Sequence[int], played: Round) -> None: ...


class Uniform:
    """The first actor keeps its offset; the others' are moved by up to ``window_ns`` either way."""

    def __init__(self, seed: int, window_ns: int) -> None:
        self._draw = random.Random(seed)
        self._window_ns = window_ns

    def choose(self, actors: Sequence[Actor]) -> list[int]:
        """Drawn from the seed."""
        window = self._window_ns
        return [self._draw.randint(-window, window) if index else 0 for index in range(len(actors))]

    def tell(self, actors: Sequence[Actor], shifts: Sequence[int], played: Round) -> None:
        """Nothing is learnt."""


def hold(
    racer: Racer,
    scene: Callable[[], Scene],
    chooser: Chooser,
    *,
    budget_seconds: float,
    seed: int,
    window_ns: int,
    legal: Collection[tuple[str, ...]],
    judge: Judge | None = None,
    tell: Tell = lambda _: None,
    has_to_meet: bool = True,
    fewest_unmet: int = 0,
    unmet_seconds: float = 0.0,
    most: int | None = None,
) -> RaceResult:
    """Runs rounds until the budget is spent; every outcome was legal, and some rounds were met.

    :param most: no more rounds than that, however little time they took.
    :param has_to_meet: whether rounds in which nobody met anybody are no race; else ``met`` tells.
    :param fewest_unmet: so many rounds at least until somebody did, when nobody has to.
    :param unmet_seconds: how long nobody may meet, for a machine that is too busy to let two run at
        a time; also when that is more than the budget.
    :param scene: prepares the world for one round and returns the programs.
    :param tell: is told of the race when it begins, without a complaint, and of its failure.
    :raises KernelSplat: an outcome that is not legal, a complaint of the judge's, or a hang; says
        round, seed and offsets.
    :raises HarnessError: not one round ran, or in none of them two actors met.
    """
    result = RaceResult(seed)
    began = time.monotonic()
    title = ""
    while _goes_on(result, budget_seconds, has_to_meet, fewest_unmet, unmet_seconds, most):
        result.rounds += 1
        prepared = scene()
        shifts = chooser.choose(prepared.actors)
        failure = Failure(
            prepared,
            "",
            seed,
            result.rounds,
            result.seconds,
            window_ns,
            legal,
            racer.deadline,
            shifts,
        )
        if result.rounds == 1:
            tell(replace(failure, shifts_ns=None))
        actors = [
            replace(actor, offset_ns=actor.offset_ns + shift)
            for actor, shift in zip(prepared.actors, shifts, strict=True)
        ]
        title = _title(actors)
        try:
            played = racer.round(prepared.prologue, actors, prepared.epilogue)
        except KernelSplat as hang:
            tell(replace(failure, complaint=str(hang).partition("\n")[0]))
            text = f"{hang}\n{title}: {_where(actors, result)}"
            raise KernelSplat(text, oracle=hang.oracle) from None
        result.outcomes[played.outcome] += 1
        result.left_open.update(played.left_open)
        if met(played):
            result.met += 1
            note_raced(played)
        chooser.tell(prepared.actors, shifts, played)
        complaint = _complaint(played, legal, judge)
        if complaint:
            tell(replace(failure, complaint=complaint, played=played))
            raise KernelSplat(
                f"{title}: {complaint}\n{_where(actors, result)}\n{played.describe()}",
                oracle="outcome",
            )
        result.seconds = time.monotonic() - began
    if not result.rounds:
        raise HarnessError(f"no round fits in {budget_seconds:g} s: give the race some time")
    if has_to_meet and not result.met:
        raise HarnessError(
            f"the race was not held: {title} never met in {result.rounds} rounds: make the window "
            f"of {window_ns} ns smaller, or let the actors hold longer what they get",
        )
    return result


def _goes_on(
    result: RaceResult,
    budget_seconds: float,
    has_to_meet: bool,
    fewest_unmet: int,
    unmet_seconds: float,
    most: int | None,
) -> bool:
    if most is not None and result.rounds >= most:
        return False
    if result.met or not has_to_meet:
        few = not result.met and 0 < result.rounds < fewest_unmet
        return result.seconds < max(budget_seconds, unmet_seconds if few else 0)
    patience = max(PATIENCE * budget_seconds, unmet_seconds)
    return result.seconds < patience or 0 < result.rounds < _LEAST_ROUNDS


def met(played: Round) -> bool:
    """Whether two actors of a round were at it at the same time.

    An actor is at it from its first decisive call, where others first matter to it, to the end of
    its last call, when it has let go of what it got. Two that overlap so were inside decisive calls
    together, or one came upon what the other held or was giving back. Two that do not overlap ran
    one after the other, which any sequential test does too.
    """
    spans = []
    for calls in played.actors:
        ran = [call for call in calls if call.start_ns]
        starts = [call.start_ns for call in ran if call.step.decisive]
        if starts:
            spans.append((starts[0], ran[-1].end_ns))
    return any(later[0] < earlier[1] for earlier, later in pairwise(sorted(spans)))


def note_raced(played: Round) -> None:
    """Note the ioctls of a round that was met, from each actor's first decisive call on."""
    for actor in played.actors:
        for call in dropwhile(lambda call: not call.step.decisive, actor):
            if call.start_ns and call.step.request:
                argument = call.step.arguments[2]
                given = (
                    ffi.from_buffer(argument.content) if isinstance(argument, Memory) else argument
                )
                note(call.step.request, given, "raced")


def _complaint(
    played: Round, legal: Collection[tuple[str, ...]], judge: Judge | None
) -> str | None:
    if played.outcome not in legal:
        return f"outcome ({', '.join(played.outcome)}) is not legal"
    return judge(played) if judge else None


def _title(actors: Sequence[Actor]) -> str:
    return " against ".join(actor.name for actor in actors)


def _where(actors: Sequence[Actor], result: RaceResult) -> str:
    offsets = ", ".join(f"{actor.name} {actor.offset_ns} ns" for actor in actors)
    return f"round {result.rounds}, seed {result.seed}, offsets: {offsets}"
