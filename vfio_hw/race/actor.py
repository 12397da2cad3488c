"""Who runs a program: a thread or a process, once or again and again, on which CPU."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from vfio_hw.errors import HarnessError
from vfio_hw.race.program import Slot, Step

POLICIES = {"other": os.SCHED_OTHER, "fifo": os.SCHED_FIFO, "idle": os.SCHED_IDLE}


@dataclass(frozen=True)
class Storm:
    """An actor runs its program free, again and again, and how calls went is counted.

    It ends with the last of the actors that have no storm, or before.

    :param seconds: not longer; 0: no bound.
    :param times: not more often; 0: no bound.
    """

    seconds: float = 0.0
    times: int = 0


@dataclass(frozen=True)
class Actor:
    """A program that runs against others, on a thread and, if there are enough, a CPU of its own.

    :param program: at least one of its steps is decisive.
    :param offset_ns: its start; only differences between the actors of a round count.
    :param setup: what it does before it meets the others; all of it must succeed.
    :param process: it is a process of its own, with copies of the descriptors that the prologue
        opened. What it opens itself goes with it: when it is killed, or when its program ends. The
        other actors can not use its descriptors, nor it theirs.
    :param pid: the slot that receives its process.
    :param cpu: the CPU to stay on; None: the racer's choice.
    :param policy: how it is scheduled, where actors share a CPU: ``other``, ``fifo`` (before all
        others), ``idle`` (after all others).
    """

    name: str
    program: Sequence[Step]
    offset_ns: int = 0
    setup: Sequence[Step] = ()
    process: bool = False
    pid: Slot | None = None
    storm: Storm | None = None
    cpu: int | None = None
    policy: str = "other"

    def __post_init__(self) -> None:
        if not any(step.decisive for step in self.program):
            raise HarnessError(f"actor {self.name} has no decisive step: mark one")
        if self.policy not in POLICIES:
            raise HarnessError(
                f"actor {self.name} can not be scheduled as {self.policy!r}: "
                f"choose one of {', '.join(POLICIES)}"
            )

    @property
    def decisive(self) -> int:
        """The place of the first decisive step in its program."""
        return next(place for place, step in enumerate(self.program) if step.decisive)
