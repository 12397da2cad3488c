"""What a person can do about a test that hangs on a real machine."""

import re
from collections.abc import Sequence

from vfio_hw.host.process import Task

_OWNER = re.compile(r"pid (\d+) \((.*)\) (?=descriptor |mapping )(.*)")


def advice(blocked: Sequence[Task], held: Sequence[str]) -> str:
    """Sentences: what to end so that the rest can go on, and what only a reboot ends.

    :param blocked: tasks that no signal reaches.
    :param held: who holds what, as :func:`vfio_hw.oracle.holders.holders` says it.
    """
    stuck = {task.pid for task in blocked}
    free, own = [], []
    for owner in filter(None, map(_OWNER.fullmatch, held)):
        pid, name, what = owner.groups()
        if int(pid) in stuck:
            own.append(f"pid {pid} ({name}), which holds {what}, is itself in state D")
        else:
            free.append(f"close or end it (kill {pid}): {name} holds {what}")
    lines = ["What you can do:", *free, *own]
    if stuck:
        numbers = ", ".join(str(pid) for pid in sorted(stuck))
        lines.append(
            f"no signal reaches pid {numbers} (state D): it goes on when what it waits for comes,"
            " as after the last close of the device; if none of the processes above can be ended,"
            " only a reboot ends it"
        )
    if len(lines) == 1:
        lines.append("nothing holds a device and no task is in state D: look at the stacks")
    return "\n".join(lines)
