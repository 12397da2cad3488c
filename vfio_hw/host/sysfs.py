"""Small reads and writes of sysfs attributes, with errors that say what to do."""

import errno
import os
from pathlib import Path

from vfio_hw.errors import HarnessError, KernelRefused


def attribute(path: Path) -> str | None:
    """The text of an attribute without its newline; None when it is not there (any more)."""
    try:
        return path.read_text().strip()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENOTDIR):
            return None
        raise


def link_name(path: Path) -> str | None:
    """The last component of what a sysfs link points to; None when there is no link."""
    try:
        return path.readlink().name
    except OSError:
        return None


def names_in(directory: Path) -> list[str]:
    """The sorted names in a directory; none when it does not exist."""
    try:
        return sorted(entry.name for entry in directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def write(path: Path, text: str) -> None:
    """Write an attribute whose store operation does not wait for anybody.

    :raises KernelRefused: with the errno of the open or the write.
    :raises HarnessError: without the rights of root.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise refused(error.errno or errno.EIO, path, text) from None


def refused(number: int, path: Path, text: str) -> HarnessError:
    """The error for a write of ``text`` to ``path`` that came back with errno ``number``."""
    what = f"write of {text.strip()!r}"
    if number in (errno.EACCES, errno.EPERM) and os.geteuid() != 0:
        return HarnessError(
            f"{what} to {path} was denied to user {os.geteuid()}: run it as root (sudo)"
        )
    return KernelRefused(number, what, str(path))
