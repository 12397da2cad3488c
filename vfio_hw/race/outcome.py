"""What came of a round: every call's result and times, and each actor's outcome."""

import errno
import os
import signal
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vfio_hw.race.program import Step
from vfio_hw.uapi import lib


@dataclass(frozen=True)
class Call:
    """One step as it went; times are those of CLOCK_MONOTONIC, in nanoseconds.

    :param outcome: ``ok``, the name of the errno, or of the signal that a touch of memory got;
        ``skipped`` (a slot was empty), ``running`` (it has not returned) or ``not run``; where a
        process ended in the call, how it did: the name of the signal, or ``exited``.
    :param error: the errno, or the signal as a negative number.
    """

    step: Step
    outcome: str
    value: int
    error: int
    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class Stormed:
    """What came of an actor that ran its program again and again.

    :param outcomes: for each step of the program, how often it went which way.
    :param starts_ns: when its first decisive call began, in the last iterations.
    """

    iterations: int
    outcomes: tuple[Counter[str], ...]
    starts_ns: tuple[int, ...]


@dataclass(frozen=True)
class Round:
    """A round that ended.

    :param offsets_ns: when each actor was to start, since ``released_ns``.
    :param actors: the calls of each actor, in the order in which the actors were given; of a storm
        those of its last iteration.
    :param left_open: slots that the programs forgot to close and the engine closed.
    """

    names: tuple[str, ...]
    offsets_ns: tuple[int, ...]
    prologue: tuple[Call, ...]
    actors: tuple[tuple[Call, ...], ...]
    epilogue: tuple[Call, ...]
    released_ns: int
    left_open: tuple[str, ...]
    setups: tuple[tuple[Call, ...], ...] = ()
    storms: tuple[Stormed | None, ...] = ()

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


def named(error: int) -> str:
    """The name of an errno, or of a signal as a negative number."""
    if error < 0:
        return signal.Signals(-error).name
    return errno.errorcode.get(error, str(error))


def stormed(shared: Any, index: int, where: range) -> Stormed | None:
    """What an actor's storm came to, or None when it had none."""
    actor = shared.actors[index]
    if not actor.storm:
        return None
    kept = min(actor.iterations, lib.RACE_STARTS)
    starts = shared.starts_ns[index]
    return Stormed(
        actor.iterations,
        tuple(_tallied(shared.tallies[step]) for step in where),
        tuple(
            starts[turn % lib.RACE_STARTS]
            for turn in range(actor.iterations - kept, actor.iterations)
        ),
    )


def ended(calls: Sequence[Call], actor: Any) -> tuple[Call, ...]:
    """The calls of an actor, which may have been a process: it ended in, or before, one of them."""
    if not actor.process:
        return tuple(calls)
    code = os.waitstatus_to_exitcode(actor.status)
    how = named(code) if code < 0 else "exited"
    found = list(calls)
    for place, call in enumerate(calls):
        if call.outcome in ("running", "not run"):
            found[place] = replace(call, outcome=how, end_ns=actor.ended_ns)
            break
    return tuple(found)


def _tallied(tally: Any) -> Counter[str]:
    counts = {
        named(error) if error else "ok": count
        for error, count in zip(tally.errors, tally.counts, strict=True)
        if count
    }
    return Counter({**counts, "skipped": tally.skipped, "others": tally.others}) + Counter()


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
        outcome = named(result.error)
    return Call(step, outcome, result.value, result.error, result.start_ns, result.end_ns)
