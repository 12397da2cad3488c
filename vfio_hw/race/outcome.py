"""What came of a round: every call's result and times, and each actor's outcome."""

import errno
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vfio_hw.race.program import Step
from vfio_hw.uapi import lib


@dataclass(frozen=True)
class Call:
    """One step as it went; times are those of CLOCK_MONOTONIC, in nanoseconds.

    :param outcome: ``ok``, the name of the errno, ``skipped`` (a slot was empty), ``running``
        (it has not returned) or ``not run``.
    """

    step: Step
    outcome: str
    value: int
    error: int
    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class Round:
    """A round that ended.

    :param offsets_ns: when each actor was to start, since ``released_ns``.
    :param actors: the calls of each actor, in the order in which the actors were given.
    :param left_open: slots that the programs forgot to close and the engine closed.
    """

    names: tuple[str, ...]
    offsets_ns: tuple[int, ...]
    prologue: tuple[Call, ...]
    actors: tuple[tuple[Call, ...], ...]
    epilogue: tuple[Call, ...]
    released_ns: int
    left_open: tuple[str, ...]

    @property
    def outcome(self) -> tuple[str, ...]:
        """For each actor the outcomes of its decisive steps, joined by ``+``."""
        return tuple(
            "+".join(call.outcome for call in calls if call.step.decisive) for calls in self.actors
        )

    def describe(self) -> str:
        """Each call of each actor on a line, with its times in microseconds since the release."""
        lines = []
        for name, offset, calls in zip(self.names, self.offsets_ns, self.actors, strict=True):
            lines.append(f"{name}, to start at {offset / 1000:.1f} us")
            lines += [f"    {self._line(call)}" for call in calls]
        return "\n".join(lines)

    def _line(self, call: Call) -> str:
        if not call.start_ns:
            return f"{call.step.label}: {call.outcome}"
        start, end = ((time - self.released_ns) / 1000 for time in (call.start_ns, call.end_ns))
        return f"{call.step.label}: {call.outcome} ({call.value}), {start:.1f} to {end:.1f} us"


def recorded(shared: Any, steps: Sequence[Step], where: Iterable[int]) -> tuple[Call, ...]:
    """What the engine has recorded so far for the steps at these places."""
    return tuple(_call(shared.results[index], steps[index]) for index in where)


def _call(result: Any, step: Step) -> Call:
    outcome = {
        lib.RACE_NOT_RUN: "not run",
        lib.RACE_SKIPPED: "skipped",
        lib.RACE_RUNNING: "running",
        lib.RACE_DONE: "ok",
    }[result.state]
    if result.error:
        outcome = errno.errorcode.get(result.error, str(result.error))
    return Call(step, outcome, result.value, result.error, result.start_ns, result.end_ns)
