"""Amounts of the whole machine, which only say something when nobody else uses it."""

import functools
import os
from collections import Counter

from vfio_hw.oracle.look.files import contents, lines, names

_KTHREADD = 2
_EVENTFDS = 8
_FEW, _TRIES = 3, 5
_kernel_threads: set[str] = set()


def open_files(root: str) -> dict[str, int]:
    """Open files, those among them that only the kernel holds; none where it only estimates them.

    Source: Documentation/admin-guide/sysctl/fs.rst, file-nr.
    """
    if not root and not _counts_files():
        return {}
    found = _open_files(root)
    return {} if found is None else {"open files": found}


def _open_files(root: str) -> int | None:
    text = contents(f"{root}/proc/sys/fs/file-nr")
    return int(text.split()[0]) if text else None


@functools.cache
def _counts_files() -> bool:
    """Whether a few more files are a few more there.

    Each processor keeps a part of the count to itself, which some kernels leave out: then it
    changes by dozens at a time.
    """
    for _ in range(_TRIES):
        before = _open_files("")
        opened = [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(_FEW)]
        after = _open_files("")
        for descriptor in opened:
            os.close(descriptor)
        # Somebody else may have opened or closed one just now.
        if before is not None and after == before + _FEW:
            return True
    return False


def eventfd_contexts(root: str) -> dict[str, int]:
    """Eventfds that exist, as far as the numbers show that new ones get.

    A number is the lowest free one, so one that somebody still holds is left out; more than one
    is taken, because the test's own were freed before the one that was not.
    """
    made: list[int] = []
    try:
        while len(made) < _EVENTFDS:
            made.append(os.eventfd(0, os.EFD_CLOEXEC))
        info = lines(f"{root}/proc/self/fdinfo/{made[-1]}")
    finally:
        for descriptor in made:
            os.close(descriptor)
    for line in info:
        if line.startswith("eventfd-id:"):
            return {"eventfd contexts": int(line.split()[1]) + 1 - _EVENTFDS}
    return {}


def pinned_pages(root: str) -> dict[str, int]:
    """Pages of user memory that are pinned, for DMA in the main.

    Every processor counts for itself; reading stat_refresh brings it together.
    Source: include/linux/mmzone.h, NR_FOLL_PIN_ACQUIRED.
    """
    contents(f"{root}/proc/sys/vm/stat_refresh")
    counts = dict(
        line.split() for line in lines(f"{root}/proc/vmstat") if line.startswith("nr_foll_pin_")
    )
    if len(counts) < 2:
        return {}
    pinned = int(counts["nr_foll_pin_acquired"]) - int(counts["nr_foll_pin_released"])
    return {"pages pinned": pinned}


def processes(root: str, family: set[int]) -> dict[str, int]:
    """Processes that run, by name, and those blocked in state D, without the kernel's threads.

    :param family: processes to leave out: ours, and those that descend from it.
    """
    found: Counter[str] = Counter()
    pids = [name for name in names(f"{root}/proc") if name.isdigit()]
    _kernel_threads.intersection_update(pids)
    for pid in pids:
        if pid in _kernel_threads or int(pid) in family:
            continue
        text = contents(f"{root}/proc/{pid}/stat") or ""
        head, _, tail = text.rpartition(")")  # a name may hold spaces and brackets
        fields = tail.split()
        if len(fields) < 2 or fields[0] in "ZX":
            continue
        if int(pid) == _KTHREADD or int(fields[1]) == _KTHREADD:
            _kernel_threads.add(pid)
            continue
        name = head.partition("(")[2]
        found[f"processes {name}"] += 1
        found[f"processes {name} blocked in state D"] += fields[0] == "D"
    return dict(found)
