"""Our own process: descriptors, memory, threads."""

import re
from collections import Counter

from vfio_hw.oracle.look.files import contents, names, target

_NUMBER = re.compile(r":\[\d+\]$")
_AMOUNTS = {"VmLck": "VmLck (kB)", "VmPin": "VmPin (kB)", "Threads": "threads"}


def descriptors(root: str) -> dict[str, int]:
    """How many open descriptors there are of each kind of file."""
    directory = f"{root}/proc/self/fd"
    targets: Counter[str] = Counter()
    for descriptor in names(directory):
        # The descriptor that listed the directory is gone.
        if file := target(f"{directory}/{descriptor}"):
            targets[f"own open descriptors of {_NUMBER.sub('', file)}"] += 1
    return dict(targets)


def memory(root: str) -> dict[str, int]:
    """Locked and pinned memory, and the threads that could hold either.

    Source: Documentation/filesystems/proc.rst.
    """
    text = contents(f"{root}/proc/self/status") or ""
    found = re.findall(rf"^({'|'.join(_AMOUNTS)}):\s*(\d+)", text, re.MULTILINE)
    return {f"own {_AMOUNTS[name]}": int(amount) for name, amount in found}
