"""Our own process: descriptors, memory, threads."""

import re
import stat
from collections import Counter
from pathlib import Path

from vfio_hw.oracle.look.files import contents, names, target

_NUMBER = re.compile(r":\[\d+\]$")
_seen: dict[tuple[int, int], str] = {}
_AMOUNTS = {"VmLck": "VmLck (kB)", "VmPin": "VmPin (kB)", "Threads": "threads"}


def descriptors(root: str) -> dict[str, int]:
    """How many open descriptors there are of each kind of file."""
    directory = f"{root}/proc/self/fd"
    targets: Counter[str] = Counter()
    for descriptor in names(directory):
        # The descriptor that listed the directory is gone.
        if file := _first_name(f"{directory}/{descriptor}"):
            targets[f"own open descriptors of {_NUMBER.sub('', file)}"] += 1
    return dict(targets)


def _first_name(link: str) -> str | None:
    """What a descriptor leads to; a file or directory has the name by which it was first seen.

    Who renames it, or a directory that it is in, has opened nothing; nor has a device that leaves
    its bus while its directory in sysfs is open, which locks it.
    """
    file = target(link)
    if not file or not file.startswith("/") or file.startswith("/dev/"):
        return file
    try:
        status = Path(link).stat()
    except OSError:
        return file
    key = status.st_dev, status.st_ino
    kept = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
    return _seen.setdefault(key, file) if kept else file


def memory(root: str) -> dict[str, int]:
    """Locked and pinned memory, and the threads that could hold either.

    Source: Documentation/filesystems/proc.rst.
    """
    text = contents(f"{root}/proc/self/status") or ""
    found = re.findall(rf"^({'|'.join(_AMOUNTS)}):\s*(\d+)", text, re.MULTILINE)
    return {f"own {_AMOUNTS[name]}": int(amount) for name, amount in found}
