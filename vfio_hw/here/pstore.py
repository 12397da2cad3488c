"""What the kernel that ran before said when it died, where the firmware or the memory kept it."""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

_PSTORE = Path("/sys/fs/pstore")
# Where systemd moves the records to when it boots (man systemd-pstore).
_MOVED = Path("/var/lib/systemd/pstore")
_SLACK = 2.0  # seconds: the clock of the firmware counts whole ones
_libc = ctypes.CDLL(None, use_errno=True)


def last_words(since: float) -> str:
    """The kernel logs that were kept when a kernel died after this time; "" when there are none.

    They are left where they are.

    :param since: seconds since 1970.
    """
    with _mounted():
        records = [path for place in (_PSTORE, _MOVED) for path in _records(place)]
        found = []
        for path in sorted(records, key=_order):
            try:
                if path.stat().st_mtime >= since - _SLACK:
                    found.append(path.read_text(errors="replace"))
            except OSError:
                continue
    return "\n".join(found)


def _records(place: Path) -> Iterator[Path]:
    """The parts of kernel logs; a part that could not be unpacked (.enc.z) says nothing."""
    try:
        for directory, _, names in os.walk(place):
            for name in names:
                if name.startswith("dmesg") and not name.endswith(".enc.z"):
                    yield Path(directory) / name
    except OSError:
        return


def _order(path: Path) -> tuple[int, str]:
    """The parts of a log are numbered from its end: "Panic#1 Part1" is its last."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        first = path.read_text(errors="replace").partition("\n")[0]
        return -int(first.rpartition("Part")[2]), path.name
    return 0, path.name


@contextlib.contextmanager
def _mounted() -> Iterator[None]:
    """The file system of the records is mounted inside, and after, if it was before."""
    if not _PSTORE.is_dir() or os.geteuid() != 0 or _PSTORE.is_mount():
        yield
        return
    if _libc.mount(b"pstore", os.fsencode(_PSTORE), b"pstore", 0, None):
        yield
        return
    try:
        yield
    finally:
        _libc.umount2(os.fsencode(_PSTORE), 0)
