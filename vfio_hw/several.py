"""Several kernels, one after the other, under the same tests and the same seed."""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from vfio_hw.asked import note
from vfio_hw.errors import HarnessError
from vfio_hw.onekernel import HARNESS_WRONG, INTERRUPTED, KERNEL_WRONG, USAGE, Judged, on_kernel
from vfio_hw.report import terminal
from vfio_hw.report.events import EventLog
from vfio_hw.vm import kernels
from vfio_hw.vm.kernels import image, store

# The worst first; any other is 0.
_WORST = (INTERRUPTED, USAGE, KERNEL_WRONG, HARNESS_WRONG)
_VERDICTS = ("passed", "failed", "known", "skipped", "error")


def on_each(args: argparse.Namespace, out: Path) -> int:
    """Judge each kernel of ``args.kernel`` in a directory of its own; the worst exit status.

    A kernel that can not be had or booted does not keep the others from being judged.
    """
    table: list[tuple[str, Judged]] = []
    for name, directory in zip(args.kernel, directories(args.kernel), strict=True):
        terminal.say(f"{'' if not table else chr(10)}kernel {name}")
        table.append((directory, _judged(args, name, out / directory)))
        if table[-1][1].status in (INTERRUPTED, USAGE):
            break
    for line in summary(table):
        terminal.say(line)
    terminal.say(f"results: {out}")
    return worst([judged.status for _, judged in table])


def _judged(args: argparse.Namespace, kernel: str, out: Path) -> Judged:
    out.mkdir(exist_ok=True)
    log = EventLog(out / "events.jsonl")
    try:
        with log.held():
            one = one_of(args, kernel)
            note(log, one)
            return on_kernel(one, out, log)
    except KeyboardInterrupt:
        return Judged(INTERRUPTED, text="interrupted")
    except HarnessError as error:
        print(f"vfio-hw: {error}", file=sys.stderr)
        return Judged(HARNESS_WRONG, "", log.results(), str(error))


def one_of(args: argparse.Namespace, kernel: str) -> argparse.Namespace:
    """What is asked for one of the kernels, with the modules of those given that are its own.

    :raises HarnessError: none are, or more than one directory has some of its release.
    """
    given = args.modules if isinstance(args.modules, list) else [args.modules]
    modules = _modules_of(kernel, [path for path in given if path], alone=len(args.kernel) == 1)
    return argparse.Namespace(**{**vars(args), "kernel": kernel, "modules": modules})


def _modules_of(kernel: str, given: Sequence[Path], *, alone: bool) -> Path | None:
    image_of_it = Path(kernel).expanduser()
    if len(given) == 1 and alone:
        return given[0]
    if not given or kernel in kernels.NAMES or not image_of_it.is_file():
        return None  # it has its own
    release = image.release(image_of_it)
    fitting = [path for path in given if _has(path, release)]
    if len(fitting) != 1:
        what = ", ".join(map(str, fitting)) or "none of the directories given"
        raise HarnessError(
            f"{kernel} is of release {release}, and {what} has its modules: name one directory"
            " with them, or test kernels of one release in a run each"
        )
    return fitting[0]


def _has(directory: Path, release: str) -> bool:
    try:
        store.modules_of(directory.expanduser(), release)
    except HarnessError:
        return False
    return True


def directories(names: Sequence[str]) -> list[str]:
    """A directory's name for each kernel, as like its own as can be, and no two alike."""
    made: list[str] = []
    for name in names:
        short = name if name in kernels.NAMES else Path(name).name
        short = re.sub(r"[^\w.+-]", "_", short).strip(".") or "kernel"
        same = sum(re.fullmatch(re.escape(short) + r"(~\d+)?", other) is not None for other in made)
        made.append(f"{short}~{same + 1}" if same else short)
    return made


def worst(statuses: Sequence[int]) -> int:
    """The exit status of all: an interruption, else the kernel's fault before the harness's."""
    return next((status for status in _WORST if status in statuses), 0)


def summary(table: Sequence[tuple[str, Judged]]) -> list[str]:
    """One line for each kernel: its release, and how many tests had which verdict."""
    width = max(len("kernel"), *(len(name) for name, _ in table))
    release = max(len("release"), *(len(judged.release) for _, judged in table))
    lines = [f"\n{'kernel':{width}}  {'release':{release}}  {'  '.join(_VERDICTS)}  exit"]
    for name, judged in table:
        counts = Counter(result.verdict for result in judged.results)
        numbers = "  ".join(f"{counts[verdict]:{len(verdict)}}" for verdict in _VERDICTS)
        line = f"{name:{width}}  {judged.release:{release}}  {numbers}  {judged.status:4}"
        lines.append(f"{line}  {judged.text}".rstrip())
    return lines
