"""Runs rounds: prologue, actors against each other, epilogue; in a child, under a deadline."""

import os
from collections.abc import Iterable, Sequence
from typing import Self

from vfio_hw.errors import HarnessError, KernelRefused, KernelSplat
from vfio_hw.race import hang
from vfio_hw.race.actor import POLICIES, Actor
from vfio_hw.race.child import Child, ChildDied
from vfio_hw.race.layout import Layout
from vfio_hw.race.noting import noted
from vfio_hw.race.outcome import Call, Round, ended, recorded, stormed
from vfio_hw.race.program import Step

__all__ = ["Actor", "Racer"]


class Racer:
    """Owns the child process that runs rounds; a context manager.

    :param deadline: seconds that a round may take, its prologue and epilogue included.
    :param cpus: the CPUs to spread the actors over; by default all that this process may use when a
        round begins.
    """

    def __init__(self, deadline: float = 5.0, *, cpus: Iterable[int] | None = None) -> None:
        self.deadline = deadline
        self._given = None if cpus is None else sorted(cpus)
        self._child: Child | None = None
        self._lost: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._give_up(self._child)

    @property
    def lost(self) -> tuple[int, ...]:
        """The processes that were killed and are still there, because the kernel holds them."""
        self._lost = [child for child in self._lost if child.reap(0) is None]
        return tuple(child.pid for child in self._lost)

    def round(
        self, prologue: Sequence[Step], actors: Sequence[Actor], epilogue: Sequence[Step] = ()
    ) -> Round:
        """Runs one round and returns what came of it.

        The prologue runs before the actors, the epilogue always and after them; what the slots
        hold then is closed. After a failure the next round gets a new child.

        :raises KernelSplat: a call did not return within the deadline; says which, and what each
            thread of the child was doing in the kernel.
        :raises KernelRefused: a call of the prologue failed; the actors did not run.
        :raises HarnessError: the child ended by itself.
        """
        _check_storms(actors)
        child = self._child = self._child or Child()
        layout = Layout(child.shared, prologue, actors, epilogue)
        first = min((actor.offset_ns for actor in actors), default=0)
        for place, actor in zip(child.shared.actors, actors, strict=False):
            place.offset_ns = actor.offset_ns - first
            place.policy = POLICIES[actor.policy]
            place.priority = int(actor.policy == "fifo")
        # One may have gone since the last round, or have come back.
        cpus = self._given or sorted(os.sched_getaffinity(0))
        for index, actor in enumerate(actors):
            cpu = cpus[index % len(cpus)] if actor.cpu is None else actor.cpu
            child.shared.actors[index].cpu = cpu
        used = {child.shared.actors[index].cpu for index in range(len(actors))}
        child.shared.crowded = len(used) < len(actors)
        steps = [*prologue, *(step for actor in actors for step in actor.program), *epilogue]
        try:
            with noted(steps):
                child.run(self.deadline)
        except TimeoutError:
            raise self._hung(child, layout) from None
        except ChildDied as death:
            raise self._died(child, layout, death) from None
        return _result(child, layout, actors)

    def _hung(self, child: Child, layout: Layout) -> HarnessError:
        calls, threads = hang.running(child, layout), hang.threads(child, layout)
        witnessed = hang.witnessed() if calls else ""
        end = self._give_up(child)
        if not calls:
            return HarnessError(
                f"the engine was in no call when {self.deadline:g} s had passed: give it more time "
                f"or the machine less to do\n{threads}"
            )
        return KernelSplat(
            f"hang: {', '.join(calls)} did not return within {self.deadline:g} s\n{threads}\n"
            f"process {child.pid} {end}{witnessed}",
            oracle="hang",
        )

    def _died(self, child: Child, layout: Layout, death: ChildDied) -> HarnessError:
        calls = ", ".join(hang.running(child, layout)) or "no call"
        self._give_up(child)
        return HarnessError(
            f"the engine's process {child.pid} {death} while {calls} ran: look for its end in the "
            f"kernel log, for one that ran out of memory"
        )

    def _give_up(self, child: Child) -> str:
        self._child = None
        end = child.end()
        if child.reap(0) is None:
            self._lost.append(child)
        return end


def _result(child: Child, layout: Layout, actors: Sequence[Actor]) -> Round:
    shared, steps = child.shared, layout.steps
    prologue = recorded(shared, steps, layout.prologue)
    for call in prologue:
        _expect_success(call)
    places = shared.actors[0 : len(actors)]
    for place, actor in zip(places, actors, strict=True):
        if place.error:
            why = os.strerror(place.error)
            raise HarnessError(
                f"an actor can not be kept on CPU {place.cpu} with policy {actor.policy} ({why}): "
                f"leave it out"
            )
    setups, played = (
        tuple(
            ended(recorded(shared, steps, where), place)
            for where, place in zip(programs, places, strict=True)
        )
        for programs in (layout.setups, layout.actors)
    )
    for setup in setups:
        for call in setup:
            _expect_success(call)
    return Round(
        names=tuple(actor.name for actor in actors),
        offsets_ns=tuple(place.offset_ns for place in places),
        prologue=prologue,
        actors=played,
        epilogue=recorded(shared, steps, layout.epilogue),
        released_ns=shared.released_ns,
        left_open=layout.left_open(),
        setups=setups,
        storms=tuple(stormed(shared, index, where) for index, where in enumerate(layout.actors)),
    )


def _check_storms(actors: Sequence[Actor]) -> None:
    endless = all(actor.storm is not None for actor in actors)
    for actor in actors:
        if endless and actor.storm is not None and not (actor.storm.seconds or actor.storm.times):
            raise HarnessError(
                f"the storm of actor {actor.name} has no end: bound it, or add an actor without one"
            )


def _expect_success(call: Call) -> None:
    if call.error > 0:
        raise KernelRefused(call.error, call.step.label, "the prologue of a round")
    if call.outcome == "skipped":
        raise HarnessError(f"{call.step.label} needs a slot that no call before it fills")
    if call.outcome != "ok":
        raise HarnessError(f"{call.step.label}, before the others began, came to: {call.outcome}")
