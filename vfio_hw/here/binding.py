"""`vfio-hw bind`, `unbind` and `restore`: devices of this machine, taken and given back."""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.here import earlier, running
from vfio_hw.here.ending import Ending
from vfio_hw.here.telling import rehearse, tell
from vfio_hw.host import journals, modules
from vfio_hw.host.guard import guarded
from vfio_hw.host.held import Held, in_words
from vfio_hw.host.journals import Found
from vfio_hw.host.lock import machine_locked
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.rehearsal import rehearsed
from vfio_hw.host.restore import restore
from vfio_hw.host.safety import Refusal, Safety
from vfio_hw.host.state import State
from vfio_hw.host.sysfs import attribute
from vfio_hw.host.taking import must_exist, plan, take, taken_along, with_their_groups
from vfio_hw.host.target import Target
from vfio_hw.host.text import printable
from vfio_hw.host.undoable import Outcome, Wanted

_DEADLINE = 20.0
_PATIENCE = 10.0  # for the last write of a run that was killed
_DONE = 0
_NOIOMMU = Path("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode")


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
    _add_dry_run(parser)
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
        " took them from, with driver_override and numvfs as they were. While one of them is open,"
        " nothing is changed.",
        epilog="Exit status: 0 all are as they were; 3 something could not be put back.",
    )
    parser.add_argument("addresses", nargs="+", metavar="ADDRESS", help="0000:3b:00.0")
    _add_dry_run(parser)
    parser.set_defaults(function=unbind)
    parser = commands.add_parser(
        "restore",
        help="undo what a killed run, or bind, has left",
        description="Undoes every change to this machine that a journal tells of and that was not"
        " undone, unless somebody has changed the same since, or has the device open.",
        epilog="Exit status: 0 nothing is left over; 3 something could not be put back.",
    )
    _add_dry_run(parser)
    parser.set_defaults(function=restore_all)


def _add_dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="print each write, and make none")


def bind(args: argparse.Namespace) -> int:
    """Take them."""
    _need_root("binding")
    if args.dry_run:
        return _rehearse_bind(args)
    state = State()
    with machine_locked(state):
        if tell(earlier.undone(state)):
            raise HarnessError(
                "an earlier run, or bind, has left what can not be put back, see above: see to it,"
                " then bind again"
            )
        if args.driver == "vfio-pci":
            modules.load("vfio-pci")
        must_exist(args.driver)
        # Last, for all of the above takes its time, and who uses a device may change meanwhile.
        functions, going = _checked(args, Safety())
        before = [function.driver for function in functions]
        # Who begins to use one while the others are taken keeps it, and the others come back.
        with Ending() as ending, guarded(args.force):
            take(state, functions, args.driver, _DEADLINE, heeded=ending.heeded)
    for function, old in zip(functions, before, strict=True):
        is_now = f"gone with its physical function, {old or 'no driver'} had it"
        if function not in going:
            where = f"IOMMU group {function.iommu_group}"
            is_now = f"{old or 'no driver'} -> {function.driver}, {where}"
        print(printable(f"{function}: {is_now}"))
    return _DONE


def _rehearse_bind(args: argparse.Namespace) -> int:
    state = State()
    with machine_locked(state):
        left = list(earlier.would_be_undone(state))
        status = rehearse(left)
        if any(not isinstance(each, Outcome) or each.word != "left" for each in left):
            print("what bind writes then is to be told when this is undone: vfio-hw restore")
            return status
        if args.driver != "vfio-pci":  # whose module bind loads
            must_exist(args.driver)
        functions, _ = _checked(args, Safety(claim=False))
        return rehearse(plan(functions, args.driver))


def _checked(
    args: argparse.Namespace, safety: Safety
) -> tuple[list[PciFunction], set[PciFunction]]:
    """What is to be bound, whole groups; and which of it goes away by that.

    :raises HarnessError: something of it may not be taken, or can not.
    """
    named = [PciFunction.at(address) for address in args.addresses]
    if "vfio" in args.driver:
        must_have_groups(named)
    refused = list(dict.fromkeys(each for one in named for each in safety.refusals(one)))
    check_forced(refused, [PciFunction.at(address).address for address in args.force])
    functions = with_their_groups(named)
    going = taken_along(functions, args.driver)
    if lost := going.intersection(named):
        raise HarnessError(
            f"{', '.join(sorted(map(str, lost)))} can not be bound: its physical function is in the"
            " same IOMMU group, and has no virtual functions any more once it has left its driver"
        )
    return functions, going


def must_have_groups(functions: Iterable[PciFunction]) -> None:
    """An IOMMU guards them all, or VFIO was told to do without (enable_unsafe_noiommu_mode).

    :raises HarnessError: VFIO can not have one of them.
    """
    lacking = [str(each) for each in functions if each.iommu_group is None]
    if lacking and attribute(_NOIOMMU) != "Y":
        raise HarnessError(
            f"no IOMMU guards {', '.join(lacking)}, so VFIO can not have it: vfio-hw doctor --here"
            " says how to switch the IOMMU on"
        )


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
        known = {t for each in journals.left(state) if each.purpose == "bind" for t in each.records}
        for address in args.addresses:
            group = with_their_groups([PciFunction.at(address)])
            if not any(_is_of(target, group) for target in known):
                raise HarnessError(
                    f"{PciFunction.at(address)} was not bound by vfio-hw bind: there is nothing to"
                    " give back"
                )
        _must_not_be_held(functions)

        def wanted(found: Found, target: Target) -> bool:
            return found.purpose == "bind" and _is_of(target, functions)

        return _undo(state, args.dry_run, wanted)


def _must_not_be_held(functions: Iterable[PciFunction]) -> None:
    """Nobody has them open: the kernel would wait for whoever has.

    :raises HarnessError: somebody has; says who.
    """
    held = Held()
    for function in functions:
        if holders := held.function(function):
            raise HarnessError(
                f"{function} is open in {in_words(holders)}, so nothing was changed: end that"
                " process, then unbind again"
            )


def restore_all(args: argparse.Namespace) -> int:
    """Undo everything that is left over."""
    _need_root("restoring")
    state = State()
    with machine_locked(state, _PATIENCE):
        if not args.dry_run:
            running.settle(state)
        if not journals.left(state):
            print("nothing is left over")
        return _undo(state, args.dry_run)


def _undo(state: State, dry: bool, wanted: Wanted = lambda found, target: True) -> int:
    if dry:
        return rehearse(rehearsed(state, wanted))
    with Ending():
        return tell(restore(state, wanted))


def _is_of(target: Target, functions: list[PciFunction]) -> bool:
    if target.kind == "attribute":
        return any(target.name.startswith(f"{each.path.resolve()}/") for each in functions)
    return target.name in {function.address for function in functions}


def _need_root(what: str) -> None:
    if os.geteuid() != 0:
        raise HarnessError(f"{what} needs root: run it as root (sudo)")
