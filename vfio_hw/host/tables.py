"""What a process has open and what it has mapped, whichever of its threads /proc tells it of.

A thread may have a table of descriptors of its own (unshare(2) with CLONE_FILES). The first thread
may have ended while others live (pthread_exit(3)): it has no descriptors and no mappings then, and
so has the directory of the process in /proc. All threads share one address space.
"""

import contextlib
import ctypes
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from vfio_hw.host.process import processes, stat_fields
from vfio_hw.host.sysfs import lines_of, names_in

# Source: linux/kcmp.h, asm/unistd_64.h, asm-generic/unistd.h.
_KCMP = {"x86_64": 312, "aarch64": 272}.get(os.uname().machine)
_KCMP_FILES = 2
_ROOT = Path("/")
_ENDED = "ZX"
_TRIES = 5  # a thread that ends while it is looked at is looked at through another one

_libc = ctypes.CDLL(None, use_errno=True)


class Descriptor(NamedTuple):
    """A descriptor: the directory in /proc of a thread that has it, its number, what it is of."""

    thread: Path
    number: str
    target: str


class Mapping(NamedTuple):
    """A mapping of a file: its addresses, and what it is of."""

    where: str
    target: str


_Thing = TypeVar("_Thing", Descriptor, Mapping)


def tables(pid: int, root: Path = _ROOT) -> list[Path]:
    """For each table of descriptors that a process has, the directory of a living thread with it.

    The directory of the process stands for that of its first thread.
    """
    process = root / "proc" / str(pid)
    try:
        tids = processes(process / "task")
    except OSError:  # it has ended
        tids = []
    if len(tids) < 2:
        return [process]
    own = tids if root != _ROOT else _distinct(tids)
    threads = [process if tid == pid else process / "task" / str(tid) for tid in own]
    return [thread for thread in threads if _lives(thread)]


def descriptors(pid: int, root: Path = _ROOT) -> Iterator[Descriptor]:
    """Every descriptor of a process, in each of its tables; none when it has ended.

    :raises PermissionError: it is not ours to see.
    :raises OSError: it lives, and its threads end faster than they can be looked at; after what was
        seen of it.
    """
    return _seen(_in_tables, pid, root)


def mappings(pid: int, root: Path = _ROOT) -> Iterator[Mapping]:
    """Every mapping of a process that has a name; none when it has ended.

    This waits for a process that is busy with its own address space, also when it hangs there.

    :raises PermissionError: it is not ours to see.
    :raises OSError: it lives, and its threads end faster than they can be looked at; after what was
        seen of it.
    """
    return _seen(_in_maps, pid, root, 1)


def _seen(
    look: Callable[[Sequence[Path]], list[_Thing]], pid: int, root: Path, most: int | None = None
) -> Iterator[_Thing]:
    """What is to be seen by way of its threads, of so many at the most."""
    seen: dict[_Thing, None] = {}
    for _ in range(_TRIES):
        threads = tables(pid, root)[:most]
        found = look(threads)
        if _told_all(threads, pid, root):
            yield from found
            return
        seen |= dict.fromkeys(found)
    yield from seen
    raise _too_fast()


def must_have_told(thread: Path, pid: int, root: Path = _ROOT) -> None:
    """What was not to be seen any more by way of a thread was closed, and is not another's still.

    :raises OSError: the thread has ended, and the process lives.
    """
    if not _told_all([thread], pid, root):
        raise _too_fast()


def _told_all(threads: Sequence[Path], pid: int, root: Path) -> bool:
    """These live, after they were looked at; or nothing of the process does."""
    if threads and all(map(_lives, threads)):
        return True
    process = root / "proc" / str(pid)
    try:
        tids = processes(process / "task")
    except OSError:  # it has ended
        return True
    return not any(_lives(process / "task" / str(tid)) for tid in tids)


def _too_fast() -> OSError:
    return OSError(errno.EAGAIN, "its threads end faster than they can be looked at")


def _in_tables(threads: Sequence[Path]) -> list[Descriptor]:
    found = []
    for thread in threads:
        for number in names_in(thread / "fd"):
            try:
                target = str((thread / "fd" / number).readlink())
            except OSError:  # it was closed meanwhile
                continue
            found.append(Descriptor(thread, number, target))
    return found


def _in_maps(threads: Sequence[Path]) -> list[Mapping]:
    lines: list[str] = []
    for thread in threads:
        with contextlib.suppress(ProcessLookupError):
            lines = lines_of(thread / "maps")
    fields = (line.split(maxsplit=5) for line in lines)
    return [Mapping(each[0], each[5]) for each in fields if len(each) == 6]


def _lives(thread: Path) -> bool:
    found = stat_fields(int(thread.name), thread.parent)
    return found is not None and found[1][0] not in _ENDED


def _distinct(tids: Sequence[int]) -> Sequence[int]:
    """Of the threads that share a table one; all of them where the kernel does not tell.

    Source: kcmp(2), which CONFIG_KCMP has and for which the threads have to be ours to see.
    """
    if _KCMP is None:
        return tids
    found: list[int] = []
    for tid in tids:
        for other in found:
            order = _libc.syscall(_KCMP, tid, other, _KCMP_FILES, 0, 0)
            if order < 0 and ctypes.get_errno() != errno.ESRCH:
                return tids
            if order == 0:
                break
        else:
            found.append(tid)
    return found
