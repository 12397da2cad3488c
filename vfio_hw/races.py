"""`vfio-hw run --races`: a budget for the pairs of the matrix, and what they had in all runs."""

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vfio_hw import cache, guest
from vfio_hw.errors import HarnessError
from vfio_hw.report import terminal
from vfio_hw.report.events import Result

MATRIX = "tests_hw/race/test_matrix.py"
_TEST = re.compile(re.escape(MATRIX) + r"::\w+\[(.+)\]")
BUDGET_SECONDS = 600.0
#: The file of a results directory that lists the pairs of a run, each with its seconds.
PAIRS = "pairs.txt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``run`` that are about the matrix."""
    parser.add_argument(
        "--races",
        action="store_true",
        help="only pairs of the matrix, each an operation against what may disturb it; most time"
        " for those that had the fewest rounds at an edge in all runs so far",
    )
    parser.add_argument(
        "--budget",
        type=guest.seconds,
        metavar="TIME",
        help="of all pairs together, with --races (default: 10m)",
    )


def check(args: argparse.Namespace) -> None:
    """Whether what ``--races`` says can be.

    :raises HarnessError: it can not.
    """
    if not args.races:
        if args.budget is not None:
            raise HarnessError("--budget is of --races: name both, or --race-budget for each race")
        return
    if args.selection or args.quick or any(word.startswith("--pairs") for word in args.rest):
        raise HarnessError("--races chooses the tests itself: leave the selection out, or --races")
    from vfio_hw.race import ledger

    ledger.check(_budget(args))


def planned(args: argparse.Namespace, out: Path) -> argparse.Namespace:
    """The arguments of a run on one kernel, with the pairs selected that ``--races`` gives it.

    :param out: the directory of the record. Which pairs they are stands in a file there: they are
        more than a command line may hold, and who goes on with the run has the same ones.
    """
    if not args.races:
        return args
    from vfio_hw.race import ledger
    from vfio_hw.race.catalogue.choice import matrix_on

    file = out / PAIRS
    if not file.exists():
        names = [pair.name for pair in matrix_on(args.machine)]
        plan = ledger.plan(ledger.read(args.kernel), names, _budget(args), args.seed)
        file.write_text("\n".join(_words(plan)) + "\n")
        most = max(seconds for _, seconds in plan)
        terminal.say(f"{len(plan)} of {len(names)} pairs, up to {most:g} s each")
    own = argparse.Namespace(**vars(args))
    words = file.read_text().split()
    _select(own, f"@{file}", [float(word.rpartition("=")[2]) for word in words])
    return own


def select(args: argparse.Namespace, name: str, seconds: float) -> None:
    """Make the arguments of a run select this pair."""
    (word,) = _words([(name, seconds)])
    _select(args, word, [seconds])


def _select(args: argparse.Namespace, words: str, seconds: Sequence[float]) -> None:
    args.selection, args.rest = [MATRIX], [*args.rest, f"--pairs={words}"]
    # What a test may take goes by what a race may.
    args.race_budget = max([args.race_budget or 0.0, *seconds])


def _words(plan: Iterable[tuple[str, float]]) -> list[str]:
    return [f"{name}={seconds:g}" for name, seconds in plan]


def _budget(args: argparse.Namespace) -> float:
    return BUDGET_SECONDS if args.budget is None else float(args.budget)


def note(kernel: str, release: str, results: Sequence[Result]) -> None:
    """Keep what the pairs among the results came to, and say how far the matrix is covered."""
    tests = [(name, _had(each)) for each in results if (name := _pair(each))]
    if not tests:
        return
    from vfio_hw.race import ledger
    from vfio_hw.race.catalogue.choice import matrix

    names = {pair.name for pair in matrix()}
    with cache.locked("races", "keeping what the races came to", terminal.say):
        own = ledger.read(kernel)
        own.note(release, tests)
        ledger.write(kernel, own)
    terminal.say(
        f"race coverage of {release}: of {own.held(names)} of {len(names)} pairs edges were found"
        f" and held, in all runs"
    )


def _pair(result: Result) -> str | None:
    match = _TEST.fullmatch(result.test)
    return match[1] if match else None


def _had(result: Result) -> dict[str, Any]:
    """What a pair has had: what its test recorded, or its time alone if that did not end well."""
    if "edges" in result.properties:
        return result.properties
    return {"seconds": result.seconds, "skipped": result.verdict == "skipped"}
