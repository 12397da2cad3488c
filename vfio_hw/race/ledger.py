"""What each pair of the matrix has had on each kernel, across runs; and who gets the next budget.

Kept in the cache as JSON: kernel as it was named, its release, and of each pair the sums.
"""

import json
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from vfio_hw import cache
from vfio_hw.errors import HarnessError

NAME = "races.json"
#: Seconds below which a pair learns too little of its edges, and what each costs beside its time.
LEAST_SECONDS = 2.0
OVERHEAD_SECONDS = 0.7


@dataclass
class Spent:
    """What one pair has had.

    :param near: rounds that were played at an edge.
    :param held: how many edges were found and held, at most in one test.
    :param skipped: whether it could not be the last time, for the kernel or its devices.
    """

    seconds: float = 0.0
    rounds: int = 0
    met: int = 0
    near: int = 0
    held: int = 0
    skipped: bool = False

    def add(self, properties: Mapping[str, Any]) -> None:
        """One more test of the pair, by what it recorded; one that failed has its seconds only."""
        self.seconds = round(self.seconds + float(properties["seconds"]), 3)
        self.rounds += int(properties.get("rounds", 0))
        self.met += int(properties.get("met", 0))
        self.near += int(properties.get("near", 0))
        edges = properties.get("edges", ())
        self.held = max(self.held, sum(1 for edge in edges if edge["held"]))
        self.skipped = bool(properties.get("skipped", False))


@dataclass
class Ledger:
    """The pairs of one kernel, by their names."""

    release: str = ""
    pairs: dict[str, Spent] = field(default_factory=dict)

    def note(self, release: str, tests: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Add what tests of pairs recorded; another release begins anew.

        :param tests: names of pairs, with properties.
        """
        if release != self.release:
            self.release, self.pairs = release, {}
        for name, properties in tests:
            self.pairs.setdefault(name, Spent()).add(properties)

    def held(self, names: Collection[str]) -> int:
        """Of how many of these pairs edges were found, and held."""
        return sum(1 for name in names if name in self.pairs and self.pairs[name].held)


def check(budget: float) -> None:
    """Whether a pair fits into so many seconds.

    :raises HarnessError: not one does.
    """
    each = LEAST_SECONDS + OVERHEAD_SECONDS
    if budget < each:
        raise HarnessError(f"a budget of {budget:g} s is too small for one pair: give {each:g} s")


def plan(ledger: Ledger, names: Sequence[str], budget: float, seed: int) -> list[tuple[str, float]]:
    """How many seconds each pair gets: most those with the fewest rounds at an edge.

    A budget that does not suffice for all goes to the pairs that have had the least, and last to
    those that were skipped; of equals the seed chooses.

    :param budget: seconds in all.
    :raises HarnessError: not one pair fits into it.
    """
    check(budget)
    each = LEAST_SECONDS + OVERHEAD_SECONDS
    ranked = list(names)
    random.Random(seed).shuffle(ranked)
    ranked.sort(key=partial(_had, ledger))
    taken = ranked[: int(budget / each)]
    left = budget - each * len(taken)
    weights = [1 / (1 + _had(ledger, name)[1]) for name in taken]
    total = sum(weights)
    return [
        (name, round(LEAST_SECONDS + left * weight / total, 2))
        for name, weight in zip(taken, weights, strict=True)
    ]


def _had(ledger: Ledger, name: str) -> tuple[bool, int, float]:
    spent = ledger.pairs.get(name, Spent())
    return spent.skipped, spent.near, spent.seconds


def read(kernel: str) -> Ledger:
    """The ledger of a kernel, by the name that it was given; an empty one when there is none."""
    whole = _whole(cache.directory() / NAME).get(kernel)
    if whole is None:
        return Ledger()
    return Ledger(whole["release"], {name: Spent(**each) for name, each in whole["pairs"].items()})


def write(kernel: str, ledger: Ledger) -> None:
    """Put the ledger of a kernel in the place of the one that is there.

    The caller holds the lock ``races`` of the cache.
    """
    path = cache.directory() / NAME
    whole = _whole(path)
    whole[kernel] = asdict(ledger)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(whole))
    new.replace(path)


def _whole(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise HarnessError(f"{path} can not be read ({error}): remove it to begin anew") from None
