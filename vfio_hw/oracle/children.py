"""Our own child processes and theirs."""

import contextlib
import os
from pathlib import Path

from vfio_hw.host import writer

_TASKS = Path("/proc/self/task")


def have_children() -> bool:
    """Whether this process has any child, a finished one included, as cheaply as can be told.

    The child that waits for the next write to sysfs is none. Source: CONFIG_PROC_CHILDREN, without
    which only those in our own process group are told.
    """
    lists = list(_TASKS.glob("*/children"))
    if lists:
        mine: set[int] = set()
        for path in lists:
            # A thread that has ended meanwhile has left its children to another one.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                mine.update(map(int, path.read_text().split()))
        return bool(mine - writer.waiting())
    try:
        os.waitid(os.P_PGID, os.getpgrp(), os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def descendants() -> dict[int, bool]:
    """Our children, theirs, and so on, that still run: each pid, and whether it is blocked.

    Blocked means state D: it waits in the kernel and no signal wakes it.
    """
    found = {write.pid: write.state == "D" for write in writer.unfinished()}
    if not have_children():
        return found
    # Most tests leave no child, and under an emulator the import takes longer than they do.
    import psutil

    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            state = child.status()
            waiting = child.pid in writer.waiting()
            if not waiting and state not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                found[child.pid] = state == psutil.STATUS_DISK_SLEEP
    return found
