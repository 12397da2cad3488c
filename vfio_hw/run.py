"""`vfio-hw run`: boot a kernel, run the hardware tests in it, judge it, keep the record."""

import argparse
import random
import shlex
import sys
from pathlib import Path

from vfio_hw import guest, races, several
from vfio_hw.asked import ask_again, begun, besides, note
from vfio_hw.errors import HarnessError
from vfio_hw.here import run as here
from vfio_hw.onekernel import (
    HARNESS_WRONG,
    INTERRUPTED,
    KERNEL_WRONG,
    OK,
    USAGE,
    on_kernel,
)
from vfio_hw.report.events import EventLog
from vfio_hw.session import results_directory
from vfio_hw.vm.losses import MOST_LOST

__all__ = [
    "HARNESS_WRONG",
    "INTERRUPTED",
    "KERNEL_WRONG",
    "OK",
    "USAGE",
    "add_judgement",
    "add_parser",
    "add_selection",
    "run",
]


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``run``."""
    parser = commands.add_parser(
        "run",
        help="boot a kernel and run the hardware tests in it",
        description="Boots a kernel under QEMU with an emulated IOMMU, drives its /dev/vfio, races"
        " every use of a device against its removal, and judges the kernel.",
        epilog="Exit status: 0 all promises held; 1 the kernel broke one; 2 wrong usage; 3 the"
        " harness or the machine failed; 130 interrupted.",
    )
    guest.add_arguments(parser, several=True)
    add_arguments(parser)
    here.add_arguments(parser)
    parser.set_defaults(function=_anywhere, takes_rest="options of pytest")


def _anywhere(args: argparse.Namespace) -> int:
    """Run the tests, in a guest or on this machine."""
    return here.run(args) if args.here else run(args)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which tests run, and what becomes of them."""
    add_selection(parser)
    parser.add_argument(
        "selection",
        nargs="*",
        metavar="SELECTION",
        help="files, directories, FILE::TEST; after -- also options of pytest, such as -k WORDS"
        " (default: all hardware tests)",
    )
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="DIRECTORY",
        help="go on with the run of which this is the record, as it was begun",
    )
    add_judgement(parser)
    races.add_arguments(parser)


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Which tests run, on what."""
    parser.add_argument(
        "--device",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="only this PCI function of the guest",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="each test once, with parameters that the seed draws: another part of the whole"
        " every time",
    )
    parser.add_argument("--seed", type=guest.whole, help="seed of all random choices")


def add_judgement(parser: argparse.ArgumentParser) -> None:
    """How long things may take, and what becomes of the verdict."""
    # Of all that runs tests, `run` alone spreads a budget.
    parser.set_defaults(races=False, budget=None)
    parser.add_argument(
        "--race-budget", type=guest.seconds, metavar="SECONDS", help="time that each race may take"
    )
    parser.add_argument(
        "--test-deadline",
        type=guest.seconds,
        metavar="SECONDS",
        help="time after which a test counts as hung (default: 60 and 4 times the race budget)",
    )
    parser.add_argument("--results", type=Path, metavar="DIRECTORY", help="where the record goes")
    parser.add_argument(
        "--most-lost",
        type=guest.whole,
        default=MOST_LOST,
        metavar="N",
        help="give up after so many guests died or could not be trusted any more; one that was"
        " ended from outside counts when it had judged no test and none ran, or when the test that"
        " ran is not tried again (default: %(default)d)",
    )
    parser.add_argument(
        "--guests",
        type=guest.whole,
        metavar="N",
        help="so many at a time, each with a part of the files (default: as many as there are"
        " processors and memory for)",
    )
    parser.add_argument(
        "--profile", action="store_true", help="print where the time went, stage by stage"
    )
    parser.add_argument(
        "--vmcore",
        action="store_true",
        help="keep the memory of a guest whose kernel panics, compressed, beside its console",
    )
    parser.add_argument(
        "--strict-known",
        action="store_true",
        help="exit status 3 when a find of fixtures/known no longer happens on this kernel",
    )


def run(args: argparse.Namespace, out: Path | None = None) -> int:
    """Run the tests and return the exit status.

    :param out: the directory of the record, made for it; None: as ``args`` says.
    """
    if args.resume:
        if others := besides(args.words, args.rest, args.resume):
            print(
                f"vfio-hw: {args.resume} goes on as it was begun: leave out {shlex.join(others)},"
                " or begin anew without --resume",
                file=sys.stderr,
            )
            return USAGE
        out = guest.visible(args.resume)
        what = begun(out)
        ask_again(args, what)
    else:
        if args.seed is None:
            args.seed = random.SystemRandom().getrandbits(32)
        args.kernel = [guest.absolute(kernel) for kernel in args.kernel or [guest.DEFAULT_KERNEL]]
        try:
            races.check(args)
        except HarnessError as error:
            print(f"vfio-hw: {error}", file=sys.stderr)
            return USAGE
        out = out or results_directory(args.results)
    log = EventLog(out / "events.jsonl")
    alone = len(args.kernel) == 1
    if alone:
        args = several.one_of(args, args.kernel[0])
    with log.held():
        note(log, args)
        return on_kernel(args, out, log).status if alone else several.on_each(args, out)
