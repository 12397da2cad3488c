"""`vfio-hw doctor`: can a run take place, in a guest and on this machine, and if not, why."""

import argparse

from vfio_hw.here.as_json import as_json
from vfio_hw.here.check import NO_GUEST, NOT_HERE, Check
from vfio_hw.here.checks import checks_here
from vfio_hw.here.guest_checks import guest_checks
from vfio_hw.host.text import printable

POSSIBLE, IMPOSSIBLE = 0, 3


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``doctor``."""
    parser = commands.add_parser(
        "doctor",
        help="can a run take place here, and if not, what to do",
        description="Looks at everything that a run needs; changes nothing, and claims no disk.",
        epilog="Exit status: 0 a run in a guest is possible, with --here a run on this machine; 3"
        " it is not.",
    )
    parser.add_argument("--here", action="store_true", help="judge by a run on this machine")
    parser.add_argument("--json", action="store_true", help="for a program")
    parser.set_defaults(function=run)


def run(args: argparse.Namespace) -> int:
    """Look, tell, and judge."""
    checks = [*guest_checks(), *checks_here()]
    possible = {
        "guest": not any(check.verdict == NO_GUEST for check in checks),
        "here": not any(check.verdict == NOT_HERE for check in checks),
    }
    if args.json:
        whole = {"checks": [check.as_json() for check in checks], "possible": possible}
        print(as_json(whole))
    else:
        for check in checks:
            print(line(check))
        for where, name, bad, how in (
            ("guest", "in a guest", NO_GUEST, "scripts/run"),
            ("here", "on this machine", NOT_HERE, "vfio-hw run --here --device ADDRESS"),
        ):
            wrong = f"is not possible: see the lines that begin with '{bad}'"
            print(f"a run {name} {f'is possible: {how}' if possible[where] else wrong}")
    return POSSIBLE if possible["here" if args.here else "guest"] else IMPOSSIBLE


def line(check: Check) -> str:
    """One line of the screen."""
    remedy = f": {check.remedy}" if check.remedy else ""
    return printable(f"{check.verdict:<8}  {check.name:<24}  {check.reason}{remedy}")
