"""The directory in which vfio-hw keeps what it must not forget: journals, the lock of the machine.

It is trusted with what root will write to sysfs, so nobody else may have had a hand in it.
"""

import errno
import os
import stat
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.home import home

#: Names the directory; without it, it is root's ``/var/lib/vfio-hw``, or in a user's home.
VARIABLE = "VFIO_HW_STATE"
_ROOTS = Path("/var/lib/vfio-hw")


def directory() -> Path:
    """Where it is, or would be.

    :raises HarnessError: this user has no home.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    return _ROOTS if os.geteuid() == 0 else home(VARIABLE) / ".local/state/vfio-hw"


class State:
    """The directory, open: what it is asked for is looked up in it, wherever its name leads by now.

    :raises HarnessError: it is a symlink, or belongs to somebody else, or others may write to it,
        or this user may not open or make it.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = directory() if path is None else path
        try:
            self._fd = _made(self.path)
        except PermissionError as error:
            raise HarnessError(denied(error)) from None
        status = os.fstat(self._fd)
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            mode = stat.filemode(status.st_mode)
            raise HarnessError(
                f"{self.path} ({mode}, of user {status.st_uid}) is not for user {os.geteuid()}"
                f" alone: what it holds can not be trusted; see to it, or name another one in"
                f" {VARIABLE}"
            )

    def open(self, name: str, flags: int) -> int:
        """Open a file in it, never one that is a link or somebody else's; returns the descriptor.

        :raises HarnessError: it is such a one.
        """
        try:
            descriptor = os.open(
                name, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600, dir_fd=self._fd
            )
        except OSError as error:
            error.filename = str(self.path / name)
            raise
        status = os.fstat(descriptor)
        if (
            not stat.S_ISREG(status.st_mode)
            or status.st_uid != os.geteuid()
            or status.st_nlink != 1
            or status.st_mode & 0o077
        ):
            os.close(descriptor)
            raise HarnessError(f"{self.path / name} is not a file of ours: see who put it there")
        if flags & os.O_CREAT:
            # The directory is synced with another file: a name must not get there before its file.
            os.fsync(descriptor)
        return descriptor

    def names(self, ending: str = "") -> list[str]:
        """The sorted names in it that end so."""
        return sorted(entry.name for entry in os.scandir(self._fd) if entry.name.endswith(ending))

    def remove(self, name: str) -> None:
        """Remove a file, for good; nothing happens when there is none."""
        try:
            os.unlink(name, dir_fd=self._fd)
        except FileNotFoundError:
            return
        self.sync()

    def replace(self, name: str, text: str) -> None:
        """The file has this text, also after a crash: the old one or the new one is there."""
        new = f"{name}.new"
        descriptor = self.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            write_all(descriptor, text.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(new, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        self.sync()

    def text(self, name: str) -> str | None:
        """What is in a file; None when it is not there."""
        try:
            descriptor = self.open(name, os.O_RDONLY)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, errors="replace") as file:
            return file.read()

    def sync(self) -> None:
        """Which files there are is on disk."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self._fd)


def denied(error: PermissionError) -> str:
    """A sentence on what this user may not do with the directory, or what is in it."""
    remedy = "" if os.geteuid() == 0 else "be root (sudo), or "
    return (
        f"{error.filename} is not open to user {os.geteuid()} ({error.strerror}): {remedy}name"
        f" another directory in {VARIABLE}"
    )


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it."""
    while data:
        data = data[os.write(descriptor, data) :]


def _made(path: Path) -> int:
    """The directory, open, and made where it was not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _check_parent(path.parent)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    else:
        _sync(path.parent)
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        raise HarnessError(
            f"{path} is a symlink or no directory: remove it, or name another one in {VARIABLE}"
        ) from None


def _check_parent(parent: Path) -> None:
    status = parent.stat()
    others = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
    if others or status.st_uid not in (0, os.geteuid()):
        raise HarnessError(
            f"others may change what is in {parent}, so no journal can be kept there: name another"
            f" directory in {VARIABLE}"
        )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
