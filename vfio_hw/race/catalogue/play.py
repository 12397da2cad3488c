"""A pair as rounds of the engine: its programs, and when they begin to meet."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from vfio_hw.race.calls import dup
from vfio_hw.race.catalogue.entry import Operation
from vfio_hw.race.catalogue.faulty import Hindrance, Nth, around
from vfio_hw.race.catalogue.pairs import Pair
from vfio_hw.race.catalogue.scenes import SCENES
from vfio_hw.race.catalogue.subject import DEVICE_SLOT, Subject, World, world_of
from vfio_hw.race.outcome import Call, Round
from vfio_hw.race.program import Slot, Step, close
from vfio_hw.race.racer import Actor, Racer
from vfio_hw.race.spread import Judge, Scene, Tell, hold

_LEAST_WINDOW_NS = 20_000
# The first is slow under an emulator, which sees the code for the first time.
_MEASURED = 3
#: So late nobody is killed any more before the end: no operation takes as long.
LATER_NS = 20_000_000
# Seconds in which no second round begins.
_ONE_ROUND = 1e-9


def scene_of(
    pair: Pair, subject: Subject, hindering: Callable[[World], Hindrance] | None = None
) -> Scene:
    """One round of the pair; the device is there.

    :param hindering: what is in the way of the first user's decisive calls.
    """
    world = world_of(subject)
    held = SCENES[pair.scene](world)
    prologue, worlds = list(held.prologue), [world]
    if pair.second is not None:
        worlds.append(world.second_user())
        if held.device:
            prologue.append(world.shared_with(worlds[1]))
    users = [
        Actor(operation.name, _program(operation, each, held.device))
        for operation, each in zip(pair.users, worlds, strict=True)
    ]
    disruption = Actor(pair.disruption.name, tuple(pair.disruption.steps(world)))
    doubling, users[0] = _one_each(users[0], disruption)
    prologue += doubling
    nth = None
    if hindering is not None:
        hindrance = hindering(world)
        nth = hindrance.nth if isinstance(hindrance, Nth) else None
        program = around(users[0].program, hindrance.before(), hindrance.after())
        users[0] = replace(users[0], program=program)
    epilogue, taker = held.epilogue, pair.disruption
    if taker.ends_user:
        # All that is open has to be his: what others have open too would stay.
        program = (*users[0].program, *epilogue)
        users[0] = replace(
            users[0], setup=tuple(prologue), program=program, process=True, pid=world.user
        )
        prologue, epilogue = [], ()
    if taker.owns is not None:
        disruption = replace(disruption, setup=tuple(taker.owns(world)), process=True)
    # Actors go round the CPUs in this order: of two CPUs the disruption has one to itself.
    return Scene(prologue, [users[0], disruption, *users[1:]], epilogue, nth)


def _one_each(user: Actor, taker: Actor) -> tuple[Sequence[Step], Actor]:
    """Where both close the same, the user closes a duplicate: either may be the last.

    What a slot holds one of them takes, and the other would call nothing.
    """
    taken = {step.arguments[0] for step in taker.program if step.takes and step.decisive}
    for step in user.program:
        slot = step.arguments[0]
        if step.takes and step.decisive and isinstance(slot, Slot) and slot in taken:
            copy = Slot(f"duplicate of {slot.name}")
            own = close(copy, delay_ns=step.delay_ns, decisive=True)
            rest = [
                each for each in user.program if not each.takes or each.arguments[0] is not slot
            ]
            place = user.program.index(step)
            program = (*rest[:place], own, *rest[place:])
            return (dup(slot, copy),), replace(user, program=program)
    return (), user


def alone_of(operation: Operation, scene: str, subject: Subject) -> Scene:
    """One round of an operation that nobody meets."""
    world = world_of(subject)
    held = SCENES[scene](world)
    program = _program(operation, world, held.device)
    return Scene(held.prologue, [Actor(operation.name, program)], held.epilogue)


@dataclass(frozen=True)
class Aim:
    """How the actors of a scene meet: offsets with which their decisive calls begin together.

    :param window_ns: how far apart they may start and still meet.
    :param seconds: what a round takes, its preparation included.
    """

    offsets_ns: tuple[int, ...]
    window_ns: int
    seconds: float

    def at(self, scene: Scene) -> Scene:
        """The scene with its actors at these offsets."""
        placed = zip(scene.actors, self.offsets_ns, strict=True)
        actors = [replace(actor, offset_ns=offset) for actor, offset in placed]
        return replace(scene, actors=actors)


class _Measured:
    """Moves nobody but the second actor, and keeps what each actor took in each round."""

    def __init__(self, later_ns: int, to_close: bool) -> None:
        self.rounds: list[Sequence[tuple[int, int]]] = []
        self._later_ns, self._to_close = later_ns, to_close

    def choose(self, actors: Sequence[Actor]) -> list[int]:
        return [self._later_ns if place == 1 else 0 for place in range(len(actors))]

    def tell(self, actors: Sequence[Actor], shifts: Sequence[int], played: Round) -> None:
        self.rounds.append(
            [
                _measured(calls, played.released_ns + shift, self._to_close)
                for calls, shift in zip(played.actors, shifts, strict=True)
            ]
        )


def aimed(
    racer: Racer,
    scene: Callable[[], Scene],
    *,
    seed: int,
    legal: Collection[tuple[str, ...]],
    judge: Judge | None = None,
    tell: Tell = lambda _: None,
    later_ns: int = 0,
    to_close: bool = False,
) -> Aim:
    """Measured in the fastest of some rounds: in others an actor's CPU had other things to do.

    :param later_ns: by so much the second actor starts later then, for the first to come to its
        end.
    :param to_close: who closes the device in the end is at it until then only, and no longer: that
        resets a function, which takes many times as long as all before it.

    They are rounds like others: see :func:`vfio_hw.race.spread.hold`, also of what it raises.
    """
    measured = _Measured(later_ns, to_close)
    for _ in range(_MEASURED):
        seconds = hold(
            racer,
            scene,
            measured,
            budget_seconds=_ONE_ROUND,
            seed=seed,
            window_ns=_LEAST_WINDOW_NS,
            legal=legal,
            judge=judge,
            tell=tell,
            has_to_meet=False,
        ).seconds
    fastest = min(measured.rounds, key=lambda actors: sum(map(sum, actors)))
    leads, spans = zip(*fastest, strict=True)
    offsets = tuple(max(leads) - lead for lead in leads)
    return Aim(offsets, max(_LEAST_WINDOW_NS, *spans), seconds)


def _measured(calls: Sequence[Call], released_ns: int, to_close: bool) -> tuple[int, int]:
    """When an actor came to its first decisive call, and how long it was at it from there on."""
    ran = [call for call in calls if call.start_ns]
    decisive = [call.start_ns for call in ran if call.step.decisive]
    if not decisive:
        return 0, 0
    closes = [call.start_ns for call in ran if to_close and _gives_up_device(call.step)]
    return decisive[0] - released_ns, max(closes, default=ran[-1].end_ns) - decisive[0]


def _gives_up_device(step: Step) -> bool:
    slot = step.arguments[0]
    return (
        step.takes
        and not step.decisive
        and isinstance(slot, Slot)
        and slot.name.startswith(DEVICE_SLOT)
    )


def _program(operation: Operation, world: World, held: bool) -> tuple[Step, ...]:
    # Whoever has a device open closes it himself: a removal waits for that, before the epilogue.
    return (*operation.steps(world), *((close(world.device),) if held else ()))
