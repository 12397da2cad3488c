"""How a guest may end, and how long it may take."""

import enum
from dataclasses import dataclass
from pathlib import Path


class Ending(enum.Enum):
    """How a guest ended, and so whom its end speaks of."""

    EXITED = "exited"  # the command ran to its end; its status is known
    PANICKED = "panicked"  # the guest's kernel died: a verdict on the kernel
    HUNG = "hung"  # nothing more came before a deadline: on the kernel too
    NO_BOOT = "no boot"  # QEMU failed or no kernel spoke: a verdict on the machine
    RESET = "reset"  # by QEMU, which the guest had asked for it: on neither
    CUT_OFF = "cut off"  # QEMU failed later, was killed, stalled, or ran too long: on neither

    @property
    def of_kernel(self) -> bool:
        """It is a verdict on the kernel."""
        return self in (Ending.PANICKED, Ending.HUNG)


@dataclass(frozen=True)
class GuestRun:
    """The end of one guest."""

    ending: Ending
    status: int | None
    seconds: float
    console: Path
    text: str  # one sentence on what happened
    dump: str = ""  # one on where its memory is, when it was asked for and it panicked


@dataclass(frozen=True)
class Deadlines:
    """Seconds that each stretch of a guest's life may take."""

    boot: float = 60.0  # until our first process runs, and from then until the first event
    silence: float | None = None  # between two events, from then on
    farewell: float = 10.0  # between two events, once the guest has said that it is unusable
    whole: float = 3600.0  # from power-on to the end
