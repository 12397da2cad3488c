"""Where things are kept that take long to make, and how they get there whole or not at all."""

import contextlib
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.home import home

Say = Callable[[str], None]
FULL = (errno.ENOSPC, errno.EDQUOT)
"""What a system call answers when a file system has no room left."""


class DiskFull(HarnessError):
    """No room left: it fails whatever is asked next, too."""


def directory() -> Path:
    """The cache directory: $VFIO_HW_CACHE, else $XDG_CACHE_HOME/vfio-hw, else ~/.cache/vfio-hw.

    It exists afterwards.

    :raises HarnessError: it can not be made, or this user has no home.
    """
    if named := os.environ.get("VFIO_HW_CACHE"):
        path = Path(named)
    elif base := os.environ.get("XDG_CACHE_HOME"):
        path = Path(base) / "vfio-hw"
    else:
        path = home("VFIO_HW_CACHE") / ".cache" / "vfio-hw"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HarnessError(
            f"the cache directory {path} can not be made ({error.strerror}): "
            "name another one in VFIO_HW_CACHE"
        ) from error
    return path.absolute()


@contextlib.contextmanager
def locked(name: str, doing: str, say: Say, *, deadline: float = 3600.0) -> Iterator[None]:
    """Hold the cache's lock ``name``, against every other process.

    :param doing: what the lock is wanted for, for the messages.
    :param deadline: seconds to wait for another holder.
    :raises HarnessError: it was held all that time.
    """
    path = directory() / f"{name}.lock"
    with path.open("a+") as lock:
        _take(lock.fileno(), path, doing, say, deadline)
        lock.seek(0)
        lock.truncate()
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        # A process that is killed leaves its make running: that one must keep the lock.
        os.set_inheritable(lock.fileno(), True)
        yield


def _take(fd: int, path: Path, doing: str, say: Say, deadline: float) -> None:
    end = time.monotonic() + deadline
    told = False
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = path.read_text().strip() or "unknown"
        if time.monotonic() >= end:
            raise HarnessError(
                f"{doing}: process {holder} held {path} for {deadline:g} s: end it or wait for it"
            )
        if not told:
            say(f"{doing}: waiting for process {holder}, which is at it already")
            told = True
        time.sleep(min(0.2, deadline))


@contextlib.contextmanager
def published(target: Path) -> Iterator[Path]:
    """A fresh directory beside ``target`` that takes its name when the block ends well.

    So ``target`` is whole when it exists. The caller holds a lock; what an earlier process left
    behind, whole or half, is replaced.
    """
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def filling(path: Path) -> Iterator[None]:
    """Turn a full disk inside the block into the sentence of :func:`disk_full`."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise disk_full(path) from error


def disk_full(path: Path) -> DiskFull:
    """The error for a file system that has no room left."""
    return DiskFull(
        f"no space left on the file system of {path}: free some there, "
        "or name another directory in VFIO_HW_CACHE"
    )


def require_space(path: Path, megabytes: int, what: str) -> None:
    """See that the file system of ``path`` has room before long work begins.

    :raises DiskFull: it has less than ``megabytes`` (10**6 bytes) free.
    """
    free = shutil.disk_usage(path).free // 10**6
    if free < megabytes:
        raise DiskFull(
            f"{what} needs {megabytes} MB in {path}, where {free} MB are free: "
            "free some there, or name another directory in VFIO_HW_CACHE"
        )
