"""Which pairs of the matrix a run takes, and for how long each."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.race.catalogue.pairs import Pair, pairs, triples

#: How many pairs a run takes that is not told which: another part of the matrix for every seed.
SAMPLE = 100


@dataclass(frozen=True)
class Chosen:
    """A pair and its seconds; None: the share of a race's time that each pair gets.

    :param alone: nothing else is asked for, and it is given its time: it has to be a race. Of many
        pairs some have so little time that nobody meets anybody, and are skipped for that.
    """

    pair: Pair
    seconds: float | None = None
    alone: bool = False


@cache
def matrix() -> tuple[Pair, ...]:
    """Every pair and every triple."""
    return (*pairs(), *triples())


def matrix_on(machine: str) -> list[Pair]:
    """Those that this machine is for; where it is for none, those that any machine will do for."""
    own = [pair for pair in matrix() if pair.disruption.machine == machine]
    return own or [pair for pair in matrix() if not pair.disruption.machine]


def chosen(words: str, seed: int, machine: str = "") -> list[Chosen]:
    """What ``--pairs`` says.

    :param machine: of fixtures/machines, of which ``all`` are, and which are drawn from.
    :param words: ``all``; how many, which the seed draws; names, each with its seconds or not:
        ``VFIO_DEVICE_GET_INFO-against-mdev_remove-mtty=2.5,...``; or ``@FILE`` with one on a line.
    :raises HarnessError: there is no such pair, or it is given no time, or no such file.
    """
    if words == "all":
        return [Chosen(pair) for pair in matrix_on(machine)]
    if words.isdigit():
        there = matrix_on(machine)
        count = min(int(words), len(there))
        if not count:
            raise HarnessError("--pairs=0 leaves nothing to run: give a number, names, or all")
        return [Chosen(pair) for pair in random.Random(seed).sample(there, count)]
    listed = _lines(Path(words[1:])) if words.startswith("@") else words.split(",")
    return list(_listed(listed))


def _lines(file: Path) -> list[str]:
    try:
        lines = file.read_text().split()
    except OSError as error:
        raise HarnessError(
            f"{file} can not be read ({error.strerror}): name a file of pairs with --pairs=@FILE"
        ) from None
    if not lines:
        raise HarnessError(f"{file} lists no pair: name another file with --pairs=@FILE")
    return lines


def _listed(words: Sequence[str]) -> Iterator[Chosen]:
    by_name = {pair.name: pair for pair in matrix()}
    for word in words:
        name, equals, text = word.partition("=")
        if name not in by_name:
            raise HarnessError(
                f"the matrix has no pair {name}: vfio-hw race --list names the operations and"
                " disruptions"
            )
        yield Chosen(
            by_name[name],
            _seconds(name, text) if equals else None,
            alone=bool(equals) and len(words) == 1,
        )


def _seconds(name: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise HarnessError(f"'{text}' is no time for {name}: give a number of seconds above 0")
    return seconds
