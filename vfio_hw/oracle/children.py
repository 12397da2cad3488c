"""Our own child processes and theirs."""

import os
from pathlib import Path

from vfio_hw.host.process import PROC, stat_fields
from vfio_hw.host.sysfs import names_in


def have_children() -> bool:
    """Whether this process has any child, a finished one included; one system call."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def descendants(proc: Path = PROC) -> dict[int, str]:
    """Our children, theirs, and so on, that still run: pid and state letter of each."""
    if not have_children():
        return {}
    parents: dict[int, tuple[int, str]] = {}
    for name in filter(str.isdigit, names_in(proc)):
        if found := stat_fields(int(name), proc):
            state, parent = found[1][0], int(found[1][1])
            parents[int(name)] = (parent, state)
    ours = {os.getpid()}
    while more := {pid for pid, (parent, _) in parents.items() if parent in ours} - ours:
        ours |= more
    return {pid: parents[pid][1] for pid in ours - {os.getpid()} if parents[pid][1] not in "ZX"}
