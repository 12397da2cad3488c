"""A race that failed, run again: about the offsets at which it did."""

import json
import random
import re
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
    "rounds": (int, type(None)),
    "seconds": (int, float),
    "window_ns": int,
    "deadline": (int, float),
    "nth": (int, type(None)),
    "shifts_ns": (list, type(None)),
    "widened": list,
    "legal": list,
    "prologue": list,
    "actors": list,
    "epilogue": list,
    "slots": list,
    "pages": list,
    "guest": (dict, type(None)),
}
# A file may come from anybody, and what it calls a test becomes a word of pytest's command line.
_TEST = re.compile(r"tests_hw/[\w/]+\.py::[^\n]+")

#: The fewest rounds in which a failure is to happen again.
FEWEST_ROUNDS = 100
#: Rounds are within :data:`NEAR_NS` of where it failed, then twice as far away, and so on; and
#: near again after so many at first, and after one more each time, up to the race's window: a
#: machine that is busier, or less so, may have its edge anywhere.
WIDTHS = 4


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
        missing = object()
        wrong = [
            key for key, kind in _KEYS.items() if not isinstance(content.get(key, missing), kind)
        ]
        if "test" not in wrong and not _TEST.fullmatch(content["test"]):
            wrong.append("test")
        found = cls(path, content)
        if not wrong:
            try:
                _ = found.offsets_ns
            except (KeyError, TypeError, ValueError):
                wrong = ["shifts_ns"]
        if wrong:
            raise HarnessError(
                f"{path} is damaged: {', '.join(wrong)} of it can not be read: take another copy"
            )
        return found

    @property
    def test(self) -> str:
        """The test that held the race."""
        return str(self.content["test"])

    @property
    def kernel(self) -> str:
        """The release of the kernel on which it failed."""
        return str(self.content["kernel"])

    @property
    def guest(self) -> dict[str, Any]:
        """What the guest was asked for in which it failed; empty when that is not known."""
        return dict(self.content["guest"] or {})

    @property
    def widened(self) -> list[str]:
        """The switches that made its windows wider."""
        return [str(name) for name in self.content["widened"]]

    @property
    def nth(self) -> int | None:
        """Which allocation or copy of the first actor was made to fail, if one was."""
        nth = self.content["nth"]
        return None if nth is None else int(nth)

    @property
    def offsets_ns(self) -> list[int] | None:
        """When each actor was to start when it failed, if that is known."""
        shifts = self.content["shifts_ns"]
        if shifts is None:
            return None
        actors = self.content["actors"]
        return [actor["offset_ns"] + shift for actor, shift in zip(actors, shifts, strict=True)]

    @property
    def most_widths(self) -> int:
        """How many widths there are up to the window in which it was sought."""
        return max(WIDTHS, (int(self.content["window_ns"]) // NEAR_NS).bit_length())

    @property
    def rounds(self) -> int | None:
        """How many rounds it took to fail; None: not known, for the kernel died of it."""
        rounds = self.content["rounds"]
        return None if rounds is None else int(rounds)

    @property
    def most_rounds(self) -> int | None:
        """In how many rounds it has to fail again; None: time alone ends it."""
        return None if self.rounds is None else max(FEWEST_ROUNDS, 2 * self.rounds)

    @property
    def seconds(self) -> float:
        """How long that may take, on a machine that is busier than the first was."""
        return max(60.0, 4 * float(self.content["seconds"]))


class About:
    """Chooses offsets about those of a failure: it, or its edge, may have drifted a little."""

    def __init__(self, offsets_ns: Sequence[int], seed: int, most_widths: int) -> None:
        self._offsets = list(offsets_ns)
        self._draw = random.Random(seed)
        self._place, self._widths, self._most_widths = 0, WIDTHS, most_widths

    def choose(self, actors: Sequence[Actor]) -> list[int]:
        """The first actor starts when it did, wherever the scene puts it by now.

        :raises HarnessError: the race has other actors by now.
        """
        if len(actors) != len(self._offsets):
            raise HarnessError(
                f"the failure file is of {len(self._offsets)} actors and the test has"
                f" {len(actors)}: use the vfio-hw that wrote it"
            )
        if self._place == self._widths:
            self._place, self._widths = 0, min(self._widths + 1, self._most_widths)
        width = NEAR_NS << self._place
        self._place += 1
        moved = [self._draw.randint(-width, width) if place else 0 for place in range(len(actors))]
        return [
            offset + by - actor.offset_ns
            for offset, by, actor in zip(self._offsets, moved, actors, strict=True)
        ]

    def tell(self, actors: Sequence[Actor], shifts: Sequence[int], played: Round) -> None:
        """Nothing is learnt."""
