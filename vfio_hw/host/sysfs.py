"""Small reads and writes of sysfs attributes, with errors that say what to do."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from vfio_hw.errors import HarnessError, KernelRefused, Unsupported


class Keeper(Protocol):
    """Is told of every write to sysfs that this package makes, before it and when it returned."""

    def before(self, path: Path, text: str) -> Any:
        """The write is about to be made; what this returns is given to :meth:`after`."""

    def after(self, token: Any, *, made: bool) -> None:
        """The write has returned, and succeeded or was refused."""


#: The journals that are kept now, see journal.py; in a guest that is thrown away there is none.
keepers: list[Keeper] = []

Told = list[tuple[Keeper, Any]]


def about_to_write(path: Path, text: str) -> Told:
    """Tell the journals; the write may be made when this returns."""
    return [(keeper, keeper.before(path, text)) for keeper in keepers]


@contextlib.contextmanager
def unkept() -> Iterator[None]:
    """What is written inside is to stay: the journals are not told."""
    kept, keepers[:] = keepers[:], []
    try:
        yield
    finally:
        keepers[:] = kept


def has_written(told: Told, *, made: bool) -> None:
    """Tell them that the write has returned."""
    for keeper, token in told:
        keeper.after(token, made=made)


def attribute(path: Path) -> str | None:
    """The text of an attribute without its newline; None when it is not there (any more).

    Bytes that are no text are kept as os.fsencode() knows them: a device chose them.
    """
    try:
        return os.fsdecode(path.read_bytes()).strip()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENOTDIR):
            return None
        raise


def lines_of(path: Path) -> list[str]:
    """The lines of a file of the kernel's in which names are that others chose, as in /proc.

    A name may hold whatever else ends a line elsewhere (a carriage return, U+2028): only a newline
    does, which the kernel escapes. Bytes that are no text are kept as os.fsencode() knows them.
    There are none when it is not there.
    """
    try:
        text = os.fsdecode(path.read_bytes())
    except FileNotFoundError:
        return []
    return text.removesuffix("\n").split("\n") if text else []


def is_there(path: Path) -> bool:
    """Whether this user can see it: debugfs is root's, and what is in it is nowhere for others."""
    return os.access(path, os.F_OK)


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
    :raises Unsupported: without the rights of root.
    """
    told = about_to_write(path, text)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, os.fsencode(text))
        finally:
            os.close(descriptor)
    except OSError as error:
        has_written(told, made=False)
        raise refused(error.errno or errno.EIO, path, text) from None
    has_written(told, made=True)


def refused(number: int, path: Path, text: str) -> HarnessError:
    """The error for a write of ``text`` to ``path`` that came back with errno ``number``."""
    what = f"write of {text.strip()!r}"
    if number in (errno.EACCES, errno.EPERM) and os.geteuid() != 0:
        return Unsupported(
            f"{what} to {path} was denied to user {os.geteuid()}: run it as root (sudo)"
        )
    return KernelRefused(number, what, str(path))
