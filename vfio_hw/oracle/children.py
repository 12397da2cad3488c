"""Our own child processes and theirs."""

import contextlib
import os


def have_children() -> bool:
    """Whether this process has any child, a finished one included; one system call."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def descendants() -> dict[int, bool]:
    """Our children, theirs, and so on, that still run: each pid, and whether it is blocked.

    Blocked means state D: it waits in the kernel and no signal wakes it.
    """
    if not have_children():
        return {}
    # Most tests leave no child, and under an emulator the import takes longer than they do.
    import psutil

    found = {}
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            state = child.status()
            if state not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                found[child.pid] = state == psutil.STATUS_DISK_SLEEP
    return found
