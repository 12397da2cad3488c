"""An operation in which something fails that hardly ever does: an allocation, a copy, a limit."""

import os
import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Protocol

from vfio_hw.host.injection import FAIL_NTH
from vfio_hw.race.catalogue.entry import Operation
from vfio_hw.race.catalogue.scenes import SCENES
from vfio_hw.race.catalogue.subject import World
from vfio_hw.race.outcome import Round
from vfio_hw.race.program import Slot, Step, close, openat, syscall, write
from vfio_hw.race.racer import Actor, Racer
from vfio_hw.race.spread import met

#: What a call may say of memory that is not to be had, and of a copy that fails; a load, of a page
#: that the device has to make first: mbochs_region_vm_fault().
FAULTS = frozenset({"ENOMEM", "EFAULT", "SIGBUS"})

#: Operations in whose decisive calls there may be nothing that can be made to fail.
SPARED = {
    **dict.fromkeys(
        (
            "close_group",
            "close_container",
            "close_device",
            "close_iommufd",
            "close_vm",
            "close_kvm_vfio",
        ),
        "a close gives back, and needs little for that or nothing",
    ),
    **dict.fromkeys(
        ("VFIO_CHECK_EXTENSION", "VFIO_GROUP_UNSET_CONTAINER", "VFIO_DEVICE_RESET", "dup_device"),
        "its argument is a number, and what it needs is there",
    ),
    "VFIO_GROUP_SET_CONTAINER": "get_user(), which fetches its argument, is never made to fail",
    "read_mapped_BAR": "a load: where page and page table are there, the fault needs nothing",
}


class Hindrance(Protocol):
    """What is in the way of the calls between two groups of steps."""

    def before(self) -> tuple[Step, ...]: ...

    def after(self) -> tuple[Step, ...]: ...


@dataclass(frozen=True)
class Tried:
    """An operation that was hindered, and the same once more, when nothing was in its way."""

    outcome: str
    again: str
    played: Round

    def describe(self) -> str:
        """Each call on a line."""
        return self.played.describe()

    def complaint(
        self, operation: Operation, kind: str, scene: str, answers: frozenset[str]
    ) -> str | None:
        """What is wrong with it, if anything is.

        :param answers: the errnos that the hindrance explains.
        """
        alone = operation.outcomes(kind, scene, frozenset())
        failed = self.outcome not in alone
        if failed and not explained(self.outcome, alone, answers):
            return f"it said {self.outcome}"
        # What an operation did once, it may say of when it is repeated.
        repeated = alone if failed else operation.outcomes(kind, scene, operation.does)
        if not failed and self._closed_for_good():
            repeated = frozenset({"skipped"})
        if self.again not in repeated:
            return f"it said {self.again} when it was repeated, with nothing in its way"
        return None

    def _closed_for_good(self) -> bool:
        """Whether it closed what it would close again: that slot is empty then."""
        calls = (call for call in self.played.actors[0] if call.step.decisive and call.step.takes)
        closed = [call.step.arguments[0] for call in calls]
        return len(set(closed)) < len(closed)


def explained(outcome: str, alone: frozenset[str], answers: frozenset[str]) -> bool:
    """Whether it went as alone up to one of the answers; what came after that had no chance."""
    parts = outcome.split("+")
    for each in alone:
        for place, (part, own) in enumerate(zip(parts, each.split("+"), strict=True)):
            if part != own:
                if part in answers and {*parts[place + 1 :]} <= {*_AFTER, *answers}:
                    return True
                break
    return False


# What comes of a call after one that failed, also in a process that is killed.
_AFTER = ("skipped", "ok", "SIGKILL", "not run")


def hindered(legal: Collection[tuple[str, ...]]) -> frozenset[tuple[str, ...]]:
    """The legal outcomes of a pair, and those that are legal once its first user may be hindered.

    All of them, one by one: a failure file has to say them to who knows no rule.
    """
    found = {(each, *others) for first, *others in legal for each in _explained(first, FAULTS)}
    return frozenset(legal) | found


def _explained(alone: str, answers: frozenset[str]) -> Iterator[str]:
    """What :func:`explained` takes for an outcome that went as this one up to an answer."""
    parts = alone.split("+")
    for place, own in enumerate(parts):
        rest = product((*_AFTER, *answers), repeat=len(parts) - place - 1)
        for answer, after in product(answers - {own}, rest):
            yield "+".join((*parts[:place], answer, *after))


class Nth:
    """Lets the Nth allocation or copy fail."""

    def __init__(self, world: World, nth: int) -> None:
        self._world, self.nth = world, nth
        self._file = Slot("fail-nth")

    def before(self) -> tuple[Step, ...]:
        """From here on they are counted."""
        return (
            openat(FAIL_NTH, os.O_RDWR, into=self._file),
            write(self._file, str(self.nth).encode()),
        )

    def after(self) -> tuple[Step, ...]:
        """How many are left to count is put into the world's memory, then no more are counted."""
        answer = syscall("pread64", self._file, self._world.answer, 16, 0, label="count")
        return answer, write(self._file, b"0"), close(self._file)

    def left(self) -> int:
        """How many were left to count when the calls had ended."""
        return int(self._world.answered().partition(b"\n")[0])

    def answered(self, played: Round) -> bool:
        """How many were left is known."""
        count = next(call for call in played.actors[0] if call.step.label == "count")
        # The copy of the answer is counted too: when that one fails, the operation was spared.
        return count.outcome == "ok"

    def fired(self, played: Round) -> bool:
        """The Nth was reached."""
        return self.answered(played) and self.left() == 0


@dataclass
class Drawn:
    """Lets something else fail in each round of a race, and counts the rounds in which it did, and
    of those the ones in which two actors met.

    The first round lets the first thing fail; how many there are turns out as rounds go by.

    :param always: the one that fails in each round instead.
    """

    draw: random.Random
    always: int | None = None
    fired: int = 0
    crossed: int = 0
    rounds: int = 0
    _most: int = 1
    _nth: Nth = field(init=False)

    def hinder(self, world: World) -> Nth:
        """What is in the way of the next round."""
        self._nth = Nth(world, self.always or self.draw.randint(1, self._most))
        return self._nth

    def judge(self, played: Round, legal: Collection[tuple[str, ...]]) -> str | None:
        """What came of it, and what is wrong with that.

        :param legal: what a round may come to in which nothing failed.
        """
        self.rounds += 1
        if self._nth.fired(played):
            self.fired += 1
            self.crossed += met(played)
            self._most = max(self._most, 2 * self._nth.nth)
        elif self._nth.answered(played):
            # The round may have been refused early, and the next go further.
            self._most = max(1, self._nth.nth - self._nth.left())
            if played.outcome not in legal:
                return f"nothing failed, and ({', '.join(played.outcome)}) is not legal"
        return None


def around(
    steps: Sequence[Step], before: Sequence[Step], after: Sequence[Step]
) -> tuple[Step, ...]:
    """The steps of an operation, with others right before and right after its decisive ones."""
    places = [place for place, step in enumerate(steps) if step.decisive]
    first, end = places[0], places[-1] + 1
    return (*steps[:first], *before, *steps[first:end], *after, *steps[end:])


def tried(
    racer: Racer, operation: Operation, scene: str, world: World, hindrance: Hindrance
) -> Tried:
    """One round of the operation, hindered in its decisive calls, and then not."""
    other = world.second_user()
    held = SCENES[scene](world)
    first = around(operation.steps(world), hindrance.before(), hindrance.after())
    closing = (close(world.device), close(other.device)) if held.device else ()
    shared = (world.shared_with(other),) if held.device else ()
    program = (*first, *operation.steps(other), *closing)
    actor = Actor(operation.name, program)
    played = racer.round((*held.prologue, *shared), [actor], held.epilogue)
    parts = played.actors[0][: len(first)], played.actors[0][len(first) :]
    outcome, again = ("+".join(c.outcome for c in part if c.step.decisive) for part in parts)
    return Tried(outcome, again, played)
