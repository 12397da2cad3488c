"""A race that failed, run again: about the offsets at which it did."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from vfio_hw.errors import HarnessError
from vfio_hw.race.actor import Actor
from vfio_hw.race.edge import NEAR_NS
from vfio_hw.race.failure import VERSION
from vfio_hw.race.outcome import Round

# What a file must have, and of which type.
_KEYS: dict[str, type | tuple[type, ...]] = {
    "test": str,
    "kernel": str,
    "complaint": str,
    "seed": int,
    "rounds": int,
    "seconds": (int, float),
    "window_ns": int,
    "legal": list,
    "prologue": list,
    "actors": list,
    "epilogue": list,
    "slots": list,
}


@dataclass(frozen=True)
class Recorded:
    """What a failure file says; ``content`` is all of it."""

    path: Path
    content: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Of a file.

        :raises HarnessError: it can not be read, or is none.
        """
        try:
            content = json.loads(path.read_text())
        except OSError as error:
            raise HarnessError(f"{path} can not be read ({error.strerror}): name a file") from None
        except ValueError as error:
            raise HarnessError(f"{path} is no failure file: it is not JSON ({error})") from None
        version = content.get("vfio_hw_race") if isinstance(content, dict) else None
        if version is None:
            raise HarnessError(
                f"{path} is no failure file: name a race-N.json of a results directory"
            )
        if version != VERSION:
            raise HarnessError(
                f"{path} is a failure file of version {version}, and this reads {VERSION}: use the"
                " vfio-hw that wrote it"
            )
        wrong = [key for key, kind in _KEYS.items() if not isinstance(content.get(key), kind)]
        if wrong:
            raise HarnessError(
                f"{path} is damaged: {', '.join(wrong)} of it can not be read: take another copy"
            )
        return cls(path, content)

    @property
    def test(self) -> str:
        """The test that held the race."""
        return str(self.content["test"])

    @property
    def kernel(self) -> str:
        """The release of the kernel on which it failed."""
        return str(self.content["kernel"])

    @property
    def shifts_ns(self) -> list[int] | None:
        """By how much each actor's offset was moved when it failed, if that is known."""
        shifts = self.content.get("shifts_ns")
        return None if shifts is None else [int(shift) for shift in shifts]

    @property
    def seconds(self) -> float:
        """How long it may take to fail again: twice what it took, and half a minute at least."""
        return max(30.0, 2 * float(self.content["seconds"]))


class About:
    """Chooses offsets about those of a failure: it, or its edge, may have drifted a little."""

    def __init__(self, shifts_ns: Sequence[int], seed: int) -> None:
        self._shifts = list(shifts_ns)
        self._draw = random.Random(seed)

    def choose(self, actors: Sequence[Actor]) -> list[int]:
        """The first actor stays where it was.

        :raises HarnessError: the race has other actors by now.
        """
        if len(actors) != len(self._shifts):
            raise HarnessError(
                f"the failure file is of {len(self._shifts)} actors and the test has"
                f" {len(actors)}: use the vfio-hw that wrote it"
            )
        moved = [shift + self._draw.randint(-NEAR_NS, NEAR_NS) for shift in self._shifts[1:]]
        return [self._shifts[0], *moved]

    def tell(self, actors: Sequence[Actor], shifts: Sequence[int], played: Round) -> None:
        """Nothing is learnt."""
