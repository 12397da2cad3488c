"""The command ``vfio-hw replay``: a race that failed is run again, by its test."""

import argparse
from pathlib import Path

from vfio_hw import guest, run
from vfio_hw.errors import HarnessError
from vfio_hw.race.again import Recorded
from vfio_hw.report import terminal
from vfio_hw.report.events import EventLog
from vfio_hw.session import PROJECT, results_directory
from vfio_hw.trust import must_be_ours


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command and its options."""
    parser = commands.add_parser(
        "replay",
        help="run a race that failed again",
        description="Boots a guest and runs the test of the race there, about the offsets at which"
        " it failed and for twice as many rounds as it took, at least a hundred.",
        epilog="Exit status: 1 it failed again, 0 it did not, 2 the test is no more, 3 it could not"
        " be run.",
    )
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="race-N.json of a results directory"
    )
    guest.add_arguments(parser, like="as when it failed")
    parser.add_argument(
        "--race-budget",
        type=guest.seconds,
        metavar="SECONDS",
        help="most time that it may take to fail (default: four times what it took, 60 at least)",
    )
    parser.add_argument("--results", type=Path, metavar="DIRECTORY", help="where the record goes")
    parser.set_defaults(function=replay)


def replay(args: argparse.Namespace) -> int:
    """Run it and return the exit status.

    :raises HarnessError: the file is none, is of another kernel than the one that would run, or
        not ours alone and no kernel is named.
    """
    file = guest.visible(args.file)
    recorded = Recorded.read(file)
    named = bool(args.kernel)
    _as_recorded(args, recorded)
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
    terminal.say(_promise(recorded))
    own = argparse.Namespace(
        device=[],
        quick=False,
        seed=int(recorded.content["seed"]) % 2**32,
        selection=[recorded.test],
        rest=[f"--race-replay={file}", *(f"--race-widen={name}" for name in recorded.widened)],
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
    out = results_directory(args.results)
    status = run.run(
        argparse.Namespace(**{**vars(args), **vars(own), "kernel": [args.kernel]}), out
    )
    if status == run.OK:
        results = EventLog(out / "events.jsonl").results()
        rounds = sum(int(each.properties.get("rounds", 0)) for each in results)
        terminal.say(f"it did not fail again in {rounds} rounds{_took(recorded)}")
    return status


def _as_recorded(args: argparse.Namespace, recorded: Recorded) -> None:
    """Fill in what no option has said: as the guest was in which it failed, or as any is.

    :raises HarnessError: that is no guest, or has a kernel that others may have written there.
    """
    of_kernel = ("kernel", "modules", "patch")
    # A kernel that is named is not the one that was patched, or had these modules.
    alone = any(getattr(args, name) for name in of_kernel)
    if recorded.guest and not alone:
        # A kernel tree has a Makefile, which is run; so is what a patch makes of one.
        must_be_ours(recorded.path, "the kernel that it names", "name one with --kernel")
    defaults = {"kernel": guest.DEFAULT_KERNEL, "modules": None, "patch": [], **guest.MACHINE}
    try:
        given = {**defaults, **(guest.checked(recorded.guest) if recorded.guest else {})}
    except (argparse.ArgumentError, LookupError, TypeError):
        raise HarnessError(
            f"{recorded.path} is damaged: guest of it can not be read: take another copy"
        ) from None
    guest.set_arguments(
        args,
        {
            name: getattr(args, name) or (defaults if alone and name in of_kernel else given)[name]
            for name in defaults
        },
    )


def _promise(recorded: Recorded) -> str:
    """What is about to be run."""
    offsets = recorded.offsets_ns
    where = "at its edges" if offsets is None else f"about offsets {offsets} ns"
    if recorded.nth is not None:
        where += f", number {recorded.nth} of what can fail failing"
    most = recorded.most_rounds
    rounds = "" if most is None else f", {most} rounds"
    return (
        f"{recorded.test}, {where}{rounds}; it failed with:"
        f" {recorded.content['complaint']}{_took(recorded)}"
    )


def _took(recorded: Recorded) -> str:
    return "" if recorded.rounds is None else f" (it took {recorded.rounds})"
