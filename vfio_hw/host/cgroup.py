"""A control group in which there is no memory to be had.

Source: Documentation/admin-guide/cgroup-v2.rst.
"""

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vfio_hw.errors import HarnessError, Unsupported
from vfio_hw.host.sysfs import lines_of, write

_MOUNTS = Path("/proc/self/mounts")
_OWN = Path("/proc/self/cgroup")
# Seconds.
_DEADLINE, _POLL = 5.0, 0.01


@dataclass(frozen=True)
class Groups:
    """Files that a process writes ``0`` to: to go into the group, and back to where it was."""

    entrance: Path
    exit: Path


@contextlib.contextmanager
def without_memory() -> Iterator[Groups]:
    """A group that nothing can be charged to; it is gone after, and nobody may be in it then.

    What charges something there fails, if nobody in the group may be killed instead: that is who
    has the least oom_score_adj.

    :raises Unsupported: this kernel has no such groups, or none of memory.
    :raises HarnessError: a process stayed in the group.
    """
    with _mounted() as root, _controlled(root):
        group = root / f"vfio-hw-{os.getpid()}"
        group.mkdir()
        try:
            write(group / "memory.max", "0")
            yield Groups(group / "cgroup.procs", root / _own().lstrip("/") / "cgroup.procs")
        finally:
            _removed(group)


def _removed(group: Path) -> None:
    end = time.monotonic() + _DEADLINE
    while True:
        try:
            return group.rmdir()
        except OSError as error:
            if time.monotonic() > end:
                members = (group / "cgroup.procs").read_text().split()
                raise HarnessError(
                    f"{group} can not be removed ({error.strerror}): end the processes"
                    f" {' '.join(members) or '(none)'} in it, and remove it"
                ) from None
        time.sleep(_POLL)


@contextlib.contextmanager
def _mounted() -> Iterator[Path]:
    """Where the groups are: where they are mounted, or mounted inside and no more after."""
    found = [line.split(" ") for line in lines_of(_MOUNTS)]
    where = next((Path(each[1]) for each in found if each[2] == "cgroup2"), None)
    if where is not None:
        yield where
        return
    if "\tcgroup2\n" not in Path("/proc/filesystems").read_text():
        raise Unsupported("this kernel has no control groups", option="CONFIG_CGROUPS")
    with tempfile.TemporaryDirectory(prefix="vfio-hw-") as directory:
        subprocess.run(["mount", "-t", "cgroup2", "none", directory], check=True, timeout=_DEADLINE)
        try:
            yield Path(directory)
        finally:
            subprocess.run(["umount", directory], check=True, timeout=_DEADLINE)


@contextlib.contextmanager
def _controlled(root: Path) -> Iterator[None]:
    """The groups below the root have a controller of memory."""
    if "memory" not in (root / "cgroup.controllers").read_text().split():
        raise Unsupported("control groups have no memory here", option="CONFIG_MEMCG")
    control = root / "cgroup.subtree_control"
    if "memory" in control.read_text().split():
        yield
        return
    write(control, "+memory")
    try:
        yield
    finally:
        write(control, "-memory")


def _own() -> str:
    """The group that this process is in, below the root."""
    return next(line for line in lines_of(_OWN) if line.startswith("0::")).removeprefix("0::")
