"""The command vfio-hw uapi."""

import argparse
import difflib
import re
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.report import unjudged
from vfio_hw.report.known import PROJECT

_DIFFERS = 1


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``uapi``."""
    parser = commands.add_parser(
        "uapi",
        help="print what of the uAPI a run has judged",
        description="Prints the page docs/uapi.md from the record of one or more runs:"
        " vfio-hw uapi RESULTS... > docs/uapi.md",
        epilog="Exit status: 0; 1 the page that --check names is not what the runs show; 3 there is"
        " no record, or fixtures/unjudged.toml is wrong.",
    )
    parser.add_argument(
        "--check", type=Path, metavar="PAGE", help="print how PAGE differs from what it should be"
    )
    parser.add_argument(
        "--short-races",
        action="store_true",
        help="with --check: what the page says was contended counts as if the runs had shown it",
    )
    parser.add_argument(
        "results",
        type=Path,
        nargs="*",
        metavar="RESULTS",
        help="results directories of vfio-hw run (default: the latest in results)",
    )
    parser.set_defaults(function=_uapi)


def _uapi(args: argparse.Namespace) -> int:
    # They need the extension, which the other commands do without.
    from vfio_hw.report.uapi import gathered, lines, positive, with_met
    from vfio_hw.uapi.items import sections

    judged = gathered(args.results or [_latest()])
    there = args.check.read_text().splitlines() if args.check else []
    if args.short_races:
        judged = with_met(judged, there)
    items = sections()
    names = {name for section in items for name in section.items}
    why = unjudged.reasons(unjudged.FILE, names, judged.keys())
    refused = unjudged.refusals(unjudged.FILE, names, positive(judged))
    page = list(lines(items, judged, why, refused))
    if args.check is None:
        print("\n".join(page))
        return 0
    if args.short_races:
        # What met in a race is a matter of chance: more of it is no difference either.
        there, page = _without_met(there), _without_met(page)
    differing = list(_differing(there, page))
    if not differing:
        return 0
    print("\n".join(differing))
    print(
        f"vfio-hw: {args.check} (-) is not what these runs show (+): see which tests did not pass,"
        " or make it anew",
        file=sys.stderr,
    )
    return _DIFFERS


def _without_met(lines: list[str]) -> list[str]:
    """The page without its letters C, and how many there are."""
    counted = (re.sub(r"^(\|.*(?: \| \d+){4}) \| \d+ \|$", r"\1 |", line) for line in lines)
    return [re.sub(r"(?<=[|PR ])C(?= \|)", "", line) for line in counted]


def _differing(there: list[str], page: list[str]) -> Iterator[str]:
    compared = difflib.unified_diff(there, page, n=0, lineterm="")
    # Two lines of names of files, and places.
    return (line for line in islice(compared, 2, None) if not line.startswith("@@"))


def _latest() -> Path:
    found = sorted(path.parent for path in (PROJECT / "results").glob("[0-9]*/events.jsonl"))
    if not found:
        raise HarnessError(f"no run is on record in {PROJECT / 'results'}: name its directory")
    return found[-1]
