"""What a run was asked for, as its record holds it for another that goes on with it."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vfio_hw import guest
from vfio_hw.errors import HarnessError
from vfio_hw.report.events import EventLog
from vfio_hw.trust import must_be_ours

# The options of `run` beside those of the guest; --results and --resume are where, not what.
_OPTIONS = (
    "device",
    "quick",
    "seed",
    "selection",
    "rest",
    "race_budget",
    "races",
    "budget",
    "test_deadline",
    "guests",
    "most_lost",
    "profile",
    "strict_known",
    "vmcore",
)


def asked(args: argparse.Namespace) -> dict[str, Any]:
    """What the command line says, as JSON can hold it; paths as seen from anywhere."""
    kernels = [args.kernel] if isinstance(args.kernel, str) else args.kernel
    first = argparse.Namespace(**{**vars(args), "kernel": kernels[0]})
    return {
        "kernels": kernels,
        "guest": guest.arguments(first),
        "options": {name: getattr(args, name) for name in _OPTIONS},
    }


def note(log: EventLog, args: argparse.Namespace) -> None:
    """Begin a record with what its run is asked for, unless it has been begun."""
    if not any(log.read()):
        log.write({"event": "asked", **asked(args)})


def begun(directory: Path) -> dict[str, Any]:
    """What the run in a results directory was asked for.

    :raises HarnessError: there is no run in it, or others can have written what it asks for: that
        are options of pytest, which run code.
    """
    try:
        record = directory / "events.jsonl"
        must_be_ours(record, "what it asks for", "begin anew without --resume")
        first = next(EventLog(record).read(), {})
        return {key: first[key] for key in ("kernels", "guest", "options")}
    except (OSError, KeyError, TypeError):
        raise HarnessError(
            f"{directory} holds no run to go on with: name the directory that the run printed, or"
            " leave --resume out to begin anew"
        ) from None


def ask_again(args: argparse.Namespace, what: dict[str, Any]) -> None:
    """The inverse of :func:`asked`."""
    guest.set_arguments(args, what["guest"])
    args.kernel = what["kernels"]
    options = what["options"]
    # A record may be older than an option.
    vars(args).update({name: options[name] for name in _OPTIONS if name in options})


def besides(words: Sequence[str], rest: Sequence[str], directory: Path) -> list[str]:
    """What the command line of a resumed run has besides ``run --resume DIRECTORY``."""
    own = [w for w in words[1:] if not w.startswith("--res") and w != str(directory)]
    return [*own, *rest]
