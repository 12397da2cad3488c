"""A lock of an open file, or directory: taken with patience, and who has it. Source: flock(2)."""

import contextlib
import fcntl
import os
import time
from functools import partial
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.host.openers import openings
from vfio_hw.host.process import process_state, processes
from vfio_hw.host.questions import answers
from vfio_hw.host.sysfs import lines_of, names_in
from vfio_hw.host.tables import tables
from vfio_hw.host.text import printable

_POLL = 0.05
_LOCKS = Path("/proc/locks")
_OWN, _MOUNTS = Path("/proc/self/fdinfo"), Path("/proc/self/mountinfo")
_PATIENCE, _WHOLE = 0.5, 10.0  # seconds for one process, and for all of them
_HAS = "has"


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
    """Whether the process has the file open whose lock this is, by which the lock is held.

    As far as it is ours to see. What else it has open is not touched, where a dead server would
    not answer. Source: Documentation/filesystems/proc.rst, fdinfo, where such a descriptor has a
    line "lock:".
    """
    file = _named(lock)
    for thread in tables(pid):
        with contextlib.suppress(OSError):
            for number in names_in(thread / "fdinfo"):
                with contextlib.suppress(OSError):
                    lines = lines_of(thread / "fdinfo" / number)
                    if any(_is_of(line, file) for line in lines if line.startswith("lock:")):
                        return True
    return False


def _holders(lock: int) -> list[int]:
    """The other processes that have the lock: those that have the open file that it is of.

    Where none is ours to see it is who took it, which every user is told.
    """
    others = [pid for pid in processes() if pid != os.getpid()]
    questions = [partial(_told, pid, lock) for pid in others]
    given = answers(questions, patience=_PATIENCE, end=time.monotonic() + _WHOLE)
    seen = [pid for pid, answer in zip(others, given, strict=True) if answer == _HAS]
    return seen or sorted(_takers(lock).intersection(others))


def _told(pid: int, lock: int) -> str:
    return _HAS if has_open(pid, lock) else ""


def _takers(lock: int) -> set[int]:
    file = _named(lock)
    return {int(line.split()[4]) for line in lines_of(_LOCKS) if _is_of(f"lock: {line}", file)}


def _is_of(line: str, file: str) -> bool:
    """Whether a line "lock:" is of a lock of this file by flock(2), and not of a wait for it."""
    fields = line.split()
    return fields[2:3] == ["FLOCK"] and fields[6:7] == [file]


def _named(lock: int) -> str:
    """The file as those lines name it: by its file system and its inode there.

    Of some (btrfs, overlayfs) stat(2) tells the numbers of another one. Source: mnt_id and ino in
    fdinfo, Documentation/filesystems/proc.rst.
    """
    status = os.fstat(lock)
    device, inode = (os.major(status.st_dev), os.minor(status.st_dev)), str(status.st_ino)
    told = dict(line.split(":\t", 1) for line in lines_of(_OWN / str(lock)) if ":\t" in line)
    for line in lines_of(_MOUNTS):
        fields = line.split(" ")
        if fields[0] == told.get("mnt_id"):
            major, _, minor = fields[2].partition(":")
            device = int(major), int(minor)
    return f"{device[0]:02x}:{device[1]:02x}:{told.get('ino', inode)}"
