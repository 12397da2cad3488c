"""The command ``vfio-hw replay``: a race that failed is run again, by its test."""

import argparse
from pathlib import Path

from vfio_hw import guest, run
from vfio_hw.errors import HarnessError
from vfio_hw.race.again import Recorded
from vfio_hw.report import terminal
from vfio_hw.session import PROJECT


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command and its options."""
    parser = commands.add_parser(
        "replay",
        help="run a race that failed again",
        description="Boots a guest and runs the test of the race there, about the offsets at which"
        " it failed.",
        epilog="Exit status: 1 it failed again, 0 it did not, 2 the test is no more, 3 it could not"
        " be run.",
    )
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="race-N.json of a results directory"
    )
    guest.add_arguments(parser, kernel="")
    parser.add_argument(
        "--race-budget",
        type=guest.seconds,
        metavar="SECONDS",
        help="time that it may take to fail (default: twice what it took, 30 at least)",
    )
    parser.add_argument("--results", type=Path, metavar="DIRECTORY", help="where the record goes")
    parser.set_defaults(function=replay)


def replay(args: argparse.Namespace) -> int:
    """Run it and return the exit status.

    :raises HarnessError: the file is none, or is of another kernel than the one that would run.
    """
    file = guest.visible(args.file)
    recorded = Recorded.read(file)
    named, args.kernel = bool(args.kernel), args.kernel or guest.DEFAULT_KERNEL
    _, kernel = guest.described(args, ["true"], terminal.say, PROJECT)
    if kernel.release != recorded.kernel:
        if not named:
            raise HarnessError(
                f"{file} is of kernel {recorded.kernel}, and {args.kernel} is {kernel.release}: say"
                " with --kernel which one is to run it"
            )
        terminal.say(
            f"{file} is of kernel {recorded.kernel}: whether {kernel.release} does the same"
        )
    shifts = recorded.shifts_ns
    where = "at its edges" if shifts is None else f"about offsets {shifts} ns"
    terminal.say(f"{recorded.test}, {where}; it failed with: {recorded.content['complaint']}")
    own = argparse.Namespace(
        device=[],
        quick=False,
        seed=int(recorded.content["seed"]) % 2**32,
        selection=[recorded.test],
        rest=[f"--race-replay={file}"],
        race_budget=args.race_budget or recorded.seconds,
        test_deadline=None,
        most_lost=1,
        guests=1,
        vmcore=False,
        profile=False,
        races=False,
        budget=None,
        strict_known=False,
        resume=None,
    )
    return run.run(argparse.Namespace(**{**vars(args), **vars(own), "kernel": [args.kernel]}))
