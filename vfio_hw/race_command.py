"""`vfio-hw race`: one operation against one disruption, by hand, with a line on how it goes."""

import argparse
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vfio_hw import guest, races, run
from vfio_hw.errors import HarnessError

if TYPE_CHECKING:
    # The command has to start also where the binding was not built yet.
    from vfio_hw.race.catalogue.pairs import Pair

BUDGET_SECONDS = 30.0


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``race``."""
    parser = commands.add_parser(
        "race",
        help="race one operation against one disruption",
        description="Boots a guest and races an operation of the catalogue against what may disturb"
        " it, at the offsets where outcomes flip. Which outcomes are legal, and why, --list says.",
        epilog="Exit status: as of run.",
    )
    parser.add_argument("operation", nargs="?", metavar="OPERATION")
    parser.add_argument("disruption", nargs="?", metavar="DISRUPTION")
    parser.add_argument("--second", metavar="OPERATION", help="what a second user does meanwhile")
    parser.add_argument(
        "--device",
        dest="kind",
        metavar="KIND",
        help="mtty, mdpy, mbochs, edu, e1000e or nvme (default: the first that can)",
    )
    parser.add_argument(
        "--budget",
        type=guest.seconds,
        default=BUDGET_SECONDS,
        metavar="TIME",
        help="default: 30s",
    )
    parser.add_argument(
        "--list", action="store_true", help="say what there is, or what is legal of what is named"
    )
    guest.add_arguments(parser)
    parser.add_argument("--seed", type=guest.whole, help="seed of all random choices")
    parser.add_argument("--results", type=Path, metavar="DIRECTORY", help="where the record goes")
    # Not every pair can be on every machine.
    parser.set_defaults(function=race, machine="")


def race(args: argparse.Namespace) -> int:
    """Run the pair in a guest and return the exit status."""
    from vfio_hw.race.catalogue import listing

    if args.list and not args.operation:
        print(listing.everything())
        return run.OK
    try:
        pair = _asked(args)
        args.machine = _machine(args.machine, pair)
    except HarnessError as error:
        print(f"vfio-hw: {error}", file=sys.stderr)
        return run.USAGE
    if args.list:
        print(listing.of(pair))
        return run.OK
    return run.run(_as_run(args, pair.name))


def _asked(args: argparse.Namespace) -> "Pair":
    """The pair that is asked for.

    :raises HarnessError: there is none.
    """
    from vfio_hw.race.catalogue.pairs import disruption_named, operation_named, together, why_not

    if not args.operation or not args.disruption:
        raise HarnessError("name an OPERATION and a DISRUPTION; --list says what there is")
    users = [operation_named(name) for name in (args.operation, args.second) if name]
    disruption = disruption_named(args.disruption)
    kinds = [kind for kind in disruption.kinds if why_not(users, disruption, kind) is None]
    if args.kind is None and not kinds:
        raise HarnessError(str(why_not(users, disruption, disruption.kinds[0])))
    return together(users, disruption, args.kind or kinds[0])


def _machine(named: str, pair: "Pair") -> str:
    """The machine to race the pair on.

    :raises HarnessError: it can not be on the one that is named.
    """
    own = pair.disruption.machine
    if named and own and named != own:
        raise HarnessError(
            f"{pair.disruption.name} can be on the machine {own} only: leave --machine {named} out"
        )
    return named or own or guest.DEFAULT_MACHINE


def _as_run(args: argparse.Namespace, name: str) -> argparse.Namespace:
    """What ``run`` would be asked for, to run this pair alone."""
    seed = random.SystemRandom().getrandbits(32) if args.seed is None else args.seed
    own = argparse.Namespace(
        **{**vars(args), "kernel": [args.kernel], "device": [], "seed": seed, "rest": []},
        quick=False,
        race_budget=None,
        test_deadline=None,
        most_lost=1,
        guests=1,
        vmcore=False,
        profile=False,
        strict_known=False,
        resume=None,
        races=False,
    )
    races.select(own, name, args.budget)
    own.budget = None
    return own
