"""The record of a run: where it begins, and how another goes on with it."""

import argparse
import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

from vfio_hw.cache import FULL, DiskFull
from vfio_hw.errors import HarnessError
from vfio_hw.report import terminal
from vfio_hw.report.events import EventLog
from vfio_hw.vm import kernels
from vfio_hw.vm.machine import Guest
from vfio_hw.vm.progress import Progress, restored


def go_on(out: Path) -> str:
    """What to do when a run has ended before its time."""
    return f"go on with: vfio-hw run --resume {out}"


@contextlib.contextmanager
def roomy(out: Path) -> Iterator[None]:
    """Turn a full disk inside the block into a sentence that says how to go on."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskFull(
            f"no space left on the file system of {out}: free some there, then {go_on(out)}"
        ) from error


def begin(
    args: argparse.Namespace, log: EventLog, machine: Guest, kernel: kernels.Kernel, out: Path
) -> Progress:
    """Write what is run into a new record, or see how far an old one has come."""
    events = list(log.read())
    about = next((event for event in events if event["event"] == "run"), None)
    terminal.say(
        f"kernel {kernel.release} under {machine.accelerator.upper()}, seed {args.seed},"
        f" results in {out}"
    )
    with roomy(out):
        if about is None:
            log.write(
                {
                    "event": "run",
                    "kernel": kernel.release,
                    "image": str(kernel.image),
                    "image_state": _state(kernel),
                    "modules_state": _modules_state(kernel),
                    "accelerator": machine.accelerator,
                    "machine": machine.topology.name,
                    "seed": args.seed,
                    "argv": machine.argv,
                }
            )
            return Progress()
        now = {"image": str(kernel.image), "image_state": _state(kernel)}
        if "modules_state" in about:
            now["modules_state"] = _modules_state(kernel)
        if any(about[name] != state for name, state in now.items()):
            raise HarnessError(
                f"{out} was begun on another kernel than {args.kernel} is now"
                f" ({about['kernel']}, now {kernel.release}): begin anew, without --resume"
            )
        log.write({"event": "resumed"})
    progress = restored(events)
    whole = "an unknown number" if progress.planned is None else len(progress.planned)
    terminal.say(f"{len(progress.finished)} verdicts of {whole} of tests are there already")
    return progress


def _state(kernel: kernels.Kernel) -> list[int]:
    """Changes when another image takes the place of this one."""
    status = kernel.image.stat()
    return [status.st_size, status.st_mtime_ns]


def _modules_state(kernel: kernels.Kernel) -> str:
    """Changes when one of the modules does, or others take their place."""
    digest = hashlib.sha256(f"{kernel.modules}\n".encode())
    for path in sorted(kernel.modules.rglob("*.ko*")):
        status = path.stat()
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
