"""One at a time changes this machine, and one test at a time has a device."""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from vfio_hw.host import shared
from vfio_hw.host.flock import has_open, is_same, take
from vfio_hw.host.state import State

#: The descriptor of the machine's lock, told to a child that has it by inheritance.
VARIABLE = "VFIO_HW_LOCK"
_NAME = "lock"
_DIGITS = 10

#: Called when the lock was taken, and when it is about to be given back: who keeps a child that has
#: it open, or has it not, ends that child.
changing: list[Callable[[], None]] = []

_held: list[tuple[int, State]] = []
_devices: set[str] = set()
_used: set[str] = set()


def descriptor() -> int | None:
    """The machine's lock, when this process has it: a child that writes for us keeps it open."""
    return _held[-1][0] if _held else None


@contextlib.contextmanager
def machine_locked(state: State, patience: float = 0.0) -> Iterator[None]:
    """Nobody else changes this machine inside.

    The lock is of the file that is open, so that a child which still writes to sysfs for a killed
    run holds it on; who ends by itself gives it back, whatever the kernel does with such a child. A
    child of a process that has the lock and passed it on has it, too.

    :param patience: seconds to wait for whoever has it.
    :raises HarnessError: somebody has it still; says who.
    """
    passed, ours = inherited(state), 0
    if passed is not None:
        lock = os.dup(passed)
    else:
        lock, path = _opened(state)
        try:
            take(lock, patience, f"the lock of this machine, {path},")
            ours = os.getpid()
        except BaseException:
            os.close(lock)
            raise
    _held.append((lock, state))
    try:
        _changes()
        yield
    finally:
        _held.pop()
        _changes()
        if ours == os.getpid():
            # Also a child that the kernel does not let go has its file open.
            fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


def inherited(state: State) -> int | None:
    """The descriptor of the machine's lock, when our parent has that and has passed it on to us.

    What the environment says of it is believed only when the lock is held, through the very file
    that was passed, and our parent has that open, too.
    """
    told = os.environ.get(VARIABLE, "")
    # No number of a descriptor has more digits; it may be anything.
    if not told.isdecimal() or len(told) > _DIGITS:
        return None
    lock, _ = _opened(state)
    try:
        passed = int(told)
        if not _same(passed, lock) or not _is_held(lock) or not has_open(os.getppid(), lock):
            return None
        # Who shares an open file shares its lock; for everybody else it is taken.
        fcntl.flock(passed, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return passed
    except BlockingIOError:
        return None
    finally:
        os.close(lock)


def _opened(state: State) -> tuple[int, Path]:
    """The file whose lock is the machine's, open, and its path.

    All users share one, where root has run anything since the machine booted; else it is the one of
    this user alone.
    """
    own = state.path / _NAME
    return shared.lock() or (state.open(_NAME, os.O_RDWR | os.O_CREAT), own)


def _is_held(lock: int) -> bool:
    """Whether somebody has the lock, through another open file than this."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(lock, fcntl.LOCK_UN)
    return False


def _changes() -> None:
    for tell in changing:
        tell()


@contextlib.contextmanager
def device_locked(device: Path, patience: float) -> Iterator[None]:
    """No test of another process has this device inside; in a guest there is no other process.

    The lock is of the device's directory, which is the same for all users. A device that has left
    its bus and come back has another directory: the runs of one user know each other by a file of
    that user's, too.

    :param device: its directory in sysfs, or a link to it, by its own name.
    :param patience: seconds to wait for it.
    :raises HarnessError: another process has it still; says which.
    """
    name, end = device.name, time.monotonic() + patience
    if not _held or name in _devices:
        yield
        return
    _, state = _held[-1]
    lock = state.open(f"device-{name}.lock", os.O_RDWR | os.O_CREAT)
    directory = None
    try:
        take(lock, patience, f"the lock of {name}")
        directory = _directory_locked(device, end)
        _devices.add(name)
        _used.add(name)
        yield
    finally:
        _devices.discard(name)
        for each in (lock, directory):
            if each is not None:
                fcntl.flock(each, fcntl.LOCK_UN)  # also for a fork that has it open still
                os.close(each)


def _directory_locked(device: Path, end: float) -> int | None:
    """The directory, open, and the lock of it ours; None: there is none (any more)."""
    while True:
        try:
            lock = os.open(device, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            take(lock, end - time.monotonic(), f"the lock of {device.name}, {device},")
            with contextlib.suppress(FileNotFoundError):
                if is_same(device.stat(), os.fstat(lock)):
                    return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # the device has gone, or come back, meanwhile


def used() -> list[str]:
    """Every device that was ours to use since this was last asked; in a guest that is not told."""
    found = sorted(_used)
    _used.clear()
    return found


def _same(inherited: int, opened: int) -> bool:
    try:
        return is_same(os.fstat(inherited), os.fstat(opened))
    except (OSError, OverflowError):
        return False
