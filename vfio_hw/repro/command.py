"""The command ``vfio-hw repro``."""

import argparse
import sys
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.race.again import Recorded
from vfio_hw.repro.writer import written


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command and its options."""
    parser = commands.add_parser(
        "repro",
        help="write a race that failed as one C program",
        description="Writes a C program without dependencies that sets the scene, runs the race"
        " about the offsets at which it failed, for twice as many rounds as it took, at least a"
        " hundred, and says whether it failed again.",
    )
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="race-N.json of a results directory"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="default: to the terminal"
    )
    parser.set_defaults(function=repro)


def repro(args: argparse.Namespace) -> int:
    """Write it and return the exit status."""
    text = written(Recorded.read(args.file))
    if args.output is None:
        sys.stdout.write(text)
        return 0
    try:
        args.output.write_text(text)
    except OSError as error:
        raise HarnessError(
            f"{args.output} can not be written ({error.strerror}): name another file"
        ) from None
    return 0
