"""The command vfio-hw coverage: how much of VFIO the tests reach, or another command."""

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from vfio_hw import guest, run
from vfio_hw.asked import begun
from vfio_hw.coverage import collect, counts, gcov, table
from vfio_hw.coverage.counts import Coverage
from vfio_hw.errors import HarnessError
from vfio_hw.report import terminal
from vfio_hw.report.events import Event
from vfio_hw.session import results_directory
from vfio_hw.vm import kernels, machine

_RECORD = "coverage.json"


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``coverage``."""
    parser = commands.add_parser(
        "coverage",
        help="run the hardware tests, and tell which lines of VFIO they reach",
        description="Runs the hardware tests in a kernel that counts how often each line of VFIO"
        " runs, judges it like vfio-hw run, and prints how many lines of each file were reached.",
        epilog="Exit status: as of vfio-hw run; with --command that of the command.",
    )
    guest.add_arguments(parser, kernel="latest-cov")
    run.add_arguments(parser)
    parser.set_defaults(function=coverage, takes_rest="options of pytest, or a command")
    _add_instead(parser)
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write how often each line ran there"
    )
    parser.add_argument(
        "--uncovered",
        action="append",
        default=[],
        metavar="FILE",
        help="print the functions and lines of this file of the kernel's that were not reached",
    )


def _add_instead(parser: argparse.ArgumentParser) -> None:
    """What is done instead of running the tests."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--command",
        dest="instead",
        action="store_true",
        help="run the command that follows -- in a guest, not the tests",
    )
    parser.add_argument(
        "--deadline",
        type=guest.seconds,
        default=3600.0,
        metavar="SECONDS",
        help="of the command (default: %(default)g)",
    )
    group.add_argument(
        "--read",
        nargs="+",
        type=Path,
        metavar="RESULTS",
        help="run nothing: tell of earlier runs, of this kernel on several machines together",
    )
    group.add_argument(
        "--compare",
        nargs=2,
        type=Path,
        metavar="RESULTS",
        help="run nothing: two earlier runs side by side",
    )


def coverage(args: argparse.Namespace) -> int:
    """Run the tests or the command, tell what was reached, and return the exit status."""
    if args.compare:
        one, other = map(_recorded, args.compare)
        names = (_short(args.compare[0]), _short(args.compare[1]))
        _print(table.compared(one, other, names))
        return run.OK
    if args.read:
        _tell(_together(args.read), args)
        return run.OK
    if args.instead and not args.rest:
        print("vfio-hw: --command: name the command after --", file=sys.stderr)
        return run.USAGE
    if args.resume:
        out = guest.visible(args.resume)
        begun(out)  # where others may write, nothing is told either
    else:
        _require_counters(args)
        out = results_directory(args.results, "coverage-")
    try:
        status = _command(args, out) if args.instead else _tests(args, out)
    finally:
        # Whatever ended it, what was counted until then is told.
        there = any(out.glob(f"*/{gcov.ARCHIVE}"))
        if there:
            _tell(gcov.gathered(out), args, out / _RECORD)
    # What went wrong besides says why there is nothing.
    if not there and status == run.OK:
        raise HarnessError(f"no guest has sent what it counted: see {out}")
    return status


def _require_counters(args: argparse.Namespace) -> None:
    kernel = kernels.get(args.kernel, modules=args.modules, say=terminal.say)
    if not gcov.counts(kernel):
        raise HarnessError(
            f"kernel {args.kernel} counts no lines: name one that ends in -cov, or build the tree"
            " with CONFIG_GCOV_KERNEL and a GCOV_PROFILE"
        )


def _tests(args: argparse.Namespace, out: Path) -> int:
    args.kernel = [args.kernel]
    return run.run(args, out)


def _command(args: argparse.Namespace, out: Path) -> int:
    line = [sys.executable, "-m", "vfio_hw.coverage.collect", *args.rest]
    described, _ = guest.described(args, line, terminal.say, Path.cwd())
    directory = out / "guest-1"

    def keep(event: Event) -> None:
        if event["event"] == collect.KIND:
            gcov.keep(directory, event)

    deadlines = machine.Deadlines(whole=args.deadline)
    ended = machine.run(described, directory, deadlines=deadlines, on_event=keep, on_output=_output)
    if ended.status is None:
        print(f"vfio-hw: {ended.ending.value}: {ended.text}: {ended.console}", file=sys.stderr)
        return run.KERNEL_WRONG if ended.ending.of_kernel else run.HARNESS_WRONG
    return ended.status


def _output(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def _recorded(path: Path) -> Coverage:
    """The coverage of an earlier run, by its directory or its file."""
    if not path.is_dir():
        return counts.read(path)
    record = path / _RECORD
    # A run that was killed has not come to write it, nor has vfio-hw run.
    return counts.read(record) if record.exists() else gcov.gathered(path)


def _together(paths: Iterable[Path]) -> Coverage:
    """What earlier runs reached, of one kernel's source: on several machines, say.

    :raises HarnessError: they are of different sources, whose lines are not the same ones.
    """
    found = Coverage()
    for path in paths:
        other = _recorded(path)
        if found.source and other.source != found.source:
            raise HarnessError(
                f"{path} is of another source, {other.source}, than the runs before it,"
                f" {found.source}: name runs of one kernel"
            )
        found.add(other)
    return found


def _short(path: Path) -> str:
    return path.absolute().parent.name if path.name == _RECORD else path.stem


def _tell(found: Coverage, args: argparse.Namespace, record: Path | None = None) -> None:
    for path in (record, args.json):
        if path:
            found.write(path)
    _print(table.table(found))
    for name in args.uncovered:
        _print(table.uncovered(found, name))


def _print(lines: Iterable[str]) -> None:
    print("\n".join(lines), flush=True)
