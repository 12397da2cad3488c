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
    """What a descriptor leads to; a file has the name by which it was first seen.

    Who renames it, or a directory that it is in, has opened nothing.
    """
    file = target(link)
    if not file or not file.startswith("/") or file.startswith("/dev/"):
        return file
    try:
        status = Path(link).stat()
    except OSError:
        return file
    key = status.st_dev, status.st_ino
    return _seen.setdefault(key, file) if stat.S_ISREG(status.st_mode) else file


def memory(root: str) -> dict[str, int]:
    """Locked and pinned memory, and the threads that could hold either.

    Source: Documentation/filesystems/proc.rst.
    """
    text = contents(f"{root}/proc/self/status") or ""
    found = re.findall(rf"^({'|'.join(_AMOUNTS)}):\s*(\d+)", text, re.MULTILINE)
    return {f"own {_AMOUNTS[name]}": int(amount) for name, amount in found}
