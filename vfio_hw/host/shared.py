"""What all users of this machine share: its lock, and that its kernel is not to be trusted.

Root makes the place, and nobody else can put anything in another's stead there; a boot empties it.
An ordinary user may lock a file that is only his to read.
"""

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.host.text import printable

PLACE = Path("/run/vfio-hw")
_LOCK, _MARKS = "lock", "marks"
_MARK = re.compile(r"distrusted-([0-9]+)")
_LONGEST = 4096  # bytes of a mark
_OWN = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def lock() -> tuple[int, Path] | None:
    """The file whose lock is the machine's, open, and its path; None: root has made no such place.

    :raises HarnessError: others than root may change what is there.
    """
    with _directory(PLACE, 0o755) as place:
        if place is None:
            return None
        root = os.geteuid() == 0
        flags = os.O_RDWR | os.O_CREAT if root else os.O_RDONLY
        try:
            descriptor = os.open(_LOCK, flags | _OWN, 0o644, dir_fd=place)
        except FileNotFoundError:
            return None
        if root:
            os.fchmod(descriptor, 0o644)
        return descriptor, PLACE / _LOCK


def mark(text: str) -> None:
    """Every user's runs are to know of it, until the next boot, if there is a place for that."""
    with _marks() as marks:
        if marks is None:
            return
        name = f"distrusted-{os.geteuid()}"
        # Where somebody else has put one of that name, ours can not be there; root's always can.
        with contextlib.suppress(PermissionError, FileExistsError):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=marks)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            descriptor = os.open(name, flags | _OWN, 0o644, dir_fd=marks)
            try:
                os.fchmod(descriptor, 0o644)
                line = json.dumps({"boot": _boot(), "text": text[: _LONGEST // 8]})
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)


def marks() -> list[str]:
    """What users have marked this kernel with since it booted."""
    with _marks() as directory:
        if directory is None:
            return []
        with os.scandir(directory) as entries:
            matches = [_MARK.fullmatch(entry.name) for entry in entries]
        found = [_read(directory, match[0], int(match[1])) for match in matches if match]
        return [text for text in found if text is not None]


def _read(directory: int, name: str, owner: int) -> str | None:
    """A mark of this kernel; None when it is of another boot, or not its owner's."""
    try:
        descriptor = os.open(name, os.O_RDONLY | _OWN, dir_fd=directory)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != owner or status.st_nlink != 1:
            return None
        found = json.loads(os.read(descriptor, _LONGEST))
        text = f"user {owner} says: {printable(str(found['text']))}"
        return text if found["boot"] == _boot() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _marks() -> Iterator[int | None]:
    """The directory of marks, open, into which everybody may put his own."""
    with _directory(PLACE, 0o755) as place:
        if place is None:
            yield None
            return
        with _directory(Path(_MARKS), 0o1777, place) as directory:
            yield directory


@contextlib.contextmanager
def _directory(path: Path, mode: int, above: int | None = None) -> Iterator[int | None]:
    """A directory of root's, with this mode, open; None: it is not there, and not ours to make.

    :raises HarnessError: it is not root's.
    """
    root = os.geteuid() == 0
    if root:
        with contextlib.suppress(OSError):
            os.mkdir(path, mode, dir_fd=above)
    try:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, dir_fd=above)
    except FileNotFoundError:
        yield None
        return
    try:
        status = os.fstat(descriptor)
        if status.st_uid != 0 or status.st_mode & 0o022 & ~mode:
            raise HarnessError(
                f"{PLACE} ({stat.filemode(status.st_mode)}, of user {status.st_uid}) is not root's"
                " alone, so no lock in it can be trusted: let root see to it, and remove it"
            )
        if root:
            os.fchmod(descriptor, mode)  # whatever the umask was
        yield descriptor
    finally:
        os.close(descriptor)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
