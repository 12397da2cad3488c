"""A lock of an open file, or directory: taken with patience, and who has it. Source: flock(2)."""

import contextlib
import fcntl
import os
import time
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.host.openers import openings
from vfio_hw.host.process import process_state, processes
from vfio_hw.host.sysfs import lines_of, names_in
from vfio_hw.host.tables import tables
from vfio_hw.host.text import printable

_POLL = 0.05
_LOCKS = Path("/proc/locks")


def take(lock: int, patience: float, what: str) -> None:
    """Take the lock of what is open.

    :param patience: seconds to wait for whoever has it.
    :raises HarnessError: somebody has it still; says who.
    """
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= end:
                break
        time.sleep(_POLL)
    found = [process_state(pid) for pid in _holders(lock)]
    who = ", ".join(f"pid {each.pid} ({printable(each.name)})" for each in found)
    # A wait for who has a device open is one that signals end, but not the process (vfio_main.c).
    stuck = [each for each in found if each.state == "D" or each.wchan.startswith("vfio_")]
    remedy = "let it end, or end it"
    if stuck and (opened := [each for each in openings()[0] if each.vfio]):
        remedy = (
            f"the kernel does not let pid {stuck[0].pid} go while a device is open; end who has it"
            f" open: {', '.join(dict.fromkeys(printable(str(each)) for each in opened))}"
        )
    raise HarnessError(f"{what} is held by {who or 'a process that can not be seen'}: {remedy}")


def is_same(first: os.stat_result, second: os.stat_result) -> bool:
    """Both are of one file."""
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def has_open(pid: int, lock: int) -> bool:
    """Whether the process has the file of the lock open, as far as it is ours to see."""
    return bool(_descriptors_of(pid, lock))


def _holders(lock: int) -> list[int]:
    """The other processes that have the lock: those that have the open file that it is of.

    Where none is ours to see it is who took it, which every user is told.
    """
    others = [pid for pid in processes() if pid != os.getpid()]
    seen = [pid for pid in others if _has(pid, lock)]
    return seen or sorted(_takers(lock).intersection(others))


def _has(pid: int, lock: int) -> bool:
    """Source: Documentation/filesystems/proc.rst, fdinfo, where a descriptor has a line "lock:"."""
    for thread, number in _descriptors_of(pid, lock):
        with contextlib.suppress(OSError):
            if any(line.startswith("lock:") for line in lines_of(thread / "fdinfo" / number)):
                return True
    return False


def _takers(lock: int) -> set[int]:
    status = os.fstat(lock)
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    fields = (line.split() for line in lines_of(_LOCKS))
    return {int(each[4]) for each in fields if each[1] == "FLOCK" and each[5] == file}


def _descriptors_of(pid: int, lock: int) -> list[tuple[Path, str]]:
    wanted, found = os.fstat(lock), []
    for thread in tables(pid):
        try:
            numbers = names_in(thread / "fd")
        except OSError:
            continue
        for number in numbers:
            with contextlib.suppress(OSError):
                if is_same((thread / "fd" / number).stat(), wanted):
                    found.append((thread, number))
    return found
