"""`vfio-hw bind`, `unbind` and `restore`: devices of this machine, taken and given back."""

import argparse
import os
from collections.abc import Iterable

from vfio_hw.errors import HarnessError
from vfio_hw.here import running
from vfio_hw.host import journal, modules
from vfio_hw.host.lock import machine_locked
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.restore import Outcome, restore
from vfio_hw.host.safety import Refusal, Safety
from vfio_hw.host.state import State
from vfio_hw.host.taking import must_exist, plan, take, with_their_groups
from vfio_hw.host.target import Target
from vfio_hw.host.text import printable

_DEADLINE = 20.0
_PATIENCE = 10.0  # for the last write of a run that was killed
_DONE, _USAGE, _FAILED = 0, 2, 3


def add_parsers(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands ``bind``, ``unbind`` and ``restore``."""
    parser = commands.add_parser(
        "bind",
        help="take functions of this machine from their drivers, for VFIO",
        description="Binds PCI functions, with all of their IOMMU groups, to vfio-pci, through"
        " driver_override; refuses what the machine stands on; notes what it changes, so that"
        " unbind and restore can give everything back. All are bound, or none.",
        epilog="Exit status: 0 all are bound; 3 a function may not be taken, or nothing was bound.",
    )
    parser.add_argument("addresses", nargs="+", metavar="ADDRESS", help="0000:3b:00.0")
    parser.add_argument("--driver", default="vfio-pci", help="default: %(default)s")
    parser.add_argument("--dry-run", action="store_true", help="print each write, and make none")
    parser.add_argument(
        "--force",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="take this function although the machine stands on it; repeatable",
    )
    parser.set_defaults(function=bind)
    parser = commands.add_parser(
        "unbind",
        help="give functions back that bind took",
        description="Gives functions, with all of their IOMMU groups, back to the drivers that bind"
        " took them from, with driver_override and numvfs as they were.",
        epilog="Exit status: 0 all are as they were; 3 something could not be put back.",
    )
    parser.add_argument("addresses", nargs="+", metavar="ADDRESS", help="0000:3b:00.0")
    parser.set_defaults(function=unbind)
    parser = commands.add_parser(
        "restore",
        help="undo what a killed run, or bind, has left",
        description="Undoes every change to this machine that a journal tells of and that was not"
        " undone, unless somebody has changed the same since.",
        epilog="Exit status: 0 nothing is left over; 3 something could not be put back.",
    )
    parser.set_defaults(function=restore_all)


def bind(args: argparse.Namespace) -> int:
    """Take them."""
    _need_root("binding")
    named = [PciFunction.at(address) for address in args.addresses]
    functions = with_their_groups(named)
    safety = Safety()
    refused = list(dict.fromkeys(each for one in named for each in safety.refusals(one)))
    check_forced(refused, [PciFunction.at(address).address for address in args.force])
    if args.driver == "vfio-pci" and not args.dry_run:
        modules.load("vfio-pci")
    if not args.dry_run:
        must_exist(args.driver)
    if args.dry_run:
        for function in functions:
            for path, text in plan(function, args.driver):
                print(printable(f"write {text!r} to {path}"))
        return _DONE
    before = [function.driver for function in functions]
    state = State()
    with machine_locked(state):
        take(state, functions, args.driver, _DEADLINE)
    for function, old in zip(functions, before, strict=True):
        where = f"IOMMU group {function.iommu_group}"
        print(printable(f"{function}: {old or 'no driver'} -> {function.driver}, {where}"))
    return _DONE


def check_forced(refused: Iterable[Refusal], forced: list[str]) -> None:
    """What the machine stands on may be taken only when its address was typed again.

    :raises HarnessError: one was not; says every reason.
    """
    against = [each for each in refused if each.address not in forced]
    if against:
        reasons = "\n".join(printable(f"  {each}") for each in against)
        addresses = " ".join(f"--force {each}" for each in {one.address: 0 for one in against})
        raise HarnessError(
            f"the machine stands on what was asked for, so nothing was changed:\n{reasons}\n"
            f"if all of that may be lost, say so with {addresses}"
        )


def unbind(args: argparse.Namespace) -> int:
    """Give them back."""
    _need_root("unbinding")
    functions = with_their_groups(PciFunction.at(address) for address in args.addresses)
    state = State()
    with machine_locked(state, _PATIENCE):
        known = {t for each in journal.left(state) if each.purpose == "bind" for t in each.records}
        for address in args.addresses:
            group = with_their_groups([PciFunction.at(address)])
            if not any(_is_of(target, group) for target in known):
                raise HarnessError(
                    f"{PciFunction.at(address)} was not bound by vfio-hw bind: there is nothing to"
                    " give back"
                )
        return tell(
            restore(
                state,
                lambda found, target: found.purpose == "bind" and _is_of(target, functions),
            )
        )


def restore_all(args: argparse.Namespace) -> int:
    """Undo everything that is left over."""
    _need_root("restoring")
    state = State()
    with machine_locked(state, _PATIENCE):
        running.settle(state)
        return tell(restore(state))


def tell(outcomes: Iterable[Outcome]) -> int:
    """Print each as it comes; the exit status."""
    failed = False
    for outcome in outcomes:
        print(printable(str(outcome)), flush=True)
        failed |= outcome.word == "failed"
    return _FAILED if failed else _DONE


def _is_of(target: Target, functions: list[PciFunction]) -> bool:
    if target.kind == "attribute":
        return any(target.name.startswith(f"{each.path.resolve()}/") for each in functions)
    return target.name in {function.address for function in functions}


def _need_root(what: str) -> None:
    if os.geteuid() != 0:
        raise HarnessError(f"{what} needs root: run it as root (sudo)")
