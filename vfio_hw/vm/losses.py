"""What supervisors have in common: how they ended, and how many guests they lost."""

import threading
from dataclasses import dataclass

MOST_LOST = 3
"""So many lost guests end a run that was told no other number."""


@dataclass(frozen=True)
class Supervised:
    """How the guests together ended."""

    guests: int
    left: list[str]  # tests that no guest came to
    status: int | None
    """Of the last guest's command; 0 when a fault that is known ended that guest, and all."""
    why: str = ""  # they ended before all tests had their verdicts


class Stopped(Exception):
    """Another supervisor, or whoever began them all, has put an end to it."""


class Losses:
    """How many guests were lost, of all supervisors that share this.

    :param most: so many are enough.
    """

    def __init__(self, most: int) -> None:
        self.number = 0
        self.booted = False  # one guest has
        self.stop = threading.Event()
        """Set from outside: no guest goes on."""
        self._most, self._lock = most, threading.Lock()

    def enough(self, *, more: bool) -> bool:
        """Count one more, or none; whether it is enough."""
        with self._lock:
            self.number += more
            return self.number >= self._most
