"""Who holds a device, an address space or a virtual machine open."""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from vfio_hw.host.process import processes
from vfio_hw.host.questions import answers
from vfio_hw.host.sysfs import attribute
from vfio_hw.host.tables import descriptors, mappings
from vfio_hw.host.text import printable

# KVM's device for VFIO keeps each file open that was added to it: virt/kvm/vfio.c.
_HELD = re.compile(r"(?:anon_inode:\[?(?:vfio|iommufd|kvm-vfio)|/dev/(?:vfio/|iommu$)).*")

_PATIENCE, _WHOLE = 2.0, 10.0  # seconds for one process, and for all of them

_Thing = TypeVar("_Thing")


def holders(root: Path = Path("/"), *, end: float | None = None) -> list[str]:
    """One line for each descriptor and mapping of VFIO or IOMMUFD in any process.

    It opens files in /proc for every process and takes accordingly long: for a report only. What
    does not answer, because it hangs, has a line that says so.

    :param end: the time (CLOCK_MONOTONIC) from which on nothing more is asked; None: 10 s from now.
    """
    pids = processes(root / "proc")
    questions: list[Callable[[], str]] = []
    for pid in pids:
        # Descriptors before mappings: the latter may be what does not answer.
        questions.append(partial(_lines, descriptors_held, pid, root))
        questions.append(partial(_lines, mappings_held, pid, root))
    end = time.monotonic() + _WHOLE if end is None else end
    lines: list[str] = []
    for number, answer in enumerate(answers(questions, patience=_PATIENCE, end=end)):
        if answer.startswith("("):
            what = "mappings" if number % 2 else "descriptors"
            answer = f"pid {pids[number // 2]}: {what} {answer}"
        lines += filter(None, answer.split("\n"))
    return lines


def _lines(held: Callable[[int, Path], list[str]], pid: int, root: Path) -> str:
    return "\n".join(held(pid, root))


def descriptors_held(pid: int, root: Path = Path("/")) -> list[str]:
    """One line for each such descriptor of one process; none when it is gone or not ours to see.

    Of a descriptor that its first thread does not have it says which thread does.
    """
    held = []
    found = _as_far_as_seen(descriptors(pid, root))
    for thread, number, target in sorted(found, key=lambda each: int(each.number)):
        if _HELD.match(target):
            whose = "" if thread.name == str(pid) else f"thread {thread.name} "
            held.append(f"{whose}descriptor {number}: {target}")
    return _with_owner(pid, root, held)


def mappings_held(pid: int, root: Path = Path("/")) -> list[str]:
    """One line for each such mapping of one process, which holds like a descriptor does.

    This waits for a process that is busy with its own address space, also when it hangs there.
    """
    found = _as_far_as_seen(mappings(pid, root))
    held = [f"mapping {where}: {target}" for where, target in found if _HELD.match(target)]
    return _with_owner(pid, root, held)


def _as_far_as_seen(found: Iterator[_Thing]) -> Iterator[_Thing]:
    with contextlib.suppress(OSError):
        yield from found


def _with_owner(pid: int, root: Path, held: list[str]) -> list[str]:
    if not held:
        return []
    try:
        name = attribute(root / "proc" / str(pid) / "comm") or ""
    except OSError:  # it has ended
        name = ""
    return [printable(f"pid {pid} ({name}) {what}") for what in held]
