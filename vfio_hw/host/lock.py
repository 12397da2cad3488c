"""One at a time changes this machine, and one test at a time has a device."""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.host import shared
from vfio_hw.host.openers import openings
from vfio_hw.host.process import process_state, processes
from vfio_hw.host.state import State
from vfio_hw.host.sysfs import names_in
from vfio_hw.host.text import printable

#: The descriptor of the machine's lock, told to a child that has it by inheritance.
VARIABLE = "VFIO_HW_LOCK"
_NAME = "lock"
_POLL = 0.05

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
            _take(lock, patience, f"the lock of this machine, {path},")
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
    if not told.isdecimal():
        return None
    lock, _ = _opened(state)
    try:
        passed = int(told)
        if not _same(passed, lock) or not _is_held(lock) or not _has_open(os.getppid(), lock):
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
def device_locked(name: str, patience: float) -> Iterator[None]:
    """No test of another process has this device inside; in a guest there is no other process.

    :param name: a PCI address.
    :param patience: seconds to wait for it.
    :raises HarnessError: another process has it still; says which.
    """
    if not _held or name in _devices:
        yield
        return
    _, state = _held[-1]
    lock = state.open(f"device-{name}.lock", os.O_RDWR | os.O_CREAT)
    try:
        _take(lock, patience, f"the lock of {name}")
        _devices.add(name)
        _used.add(name)
        yield
    finally:
        _devices.discard(name)
        os.close(lock)


def used() -> list[str]:
    """Every device that was ours to use since this was last asked; in a guest that is not told."""
    found = sorted(_used)
    _used.clear()
    return found


def _take(lock: int, patience: float, what: str) -> None:
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= end:
                break
        time.sleep(_POLL)
    found = [process_state(pid) for pid in _openers(lock)]
    who = ", ".join(f"pid {each.pid} ({printable(each.name)})" for each in found)
    # A wait for who has a device open is one that signals end, but not the process (vfio_main.c).
    stuck = [each for each in found if each.state == "D" or each.wchan.startswith("vfio_")]
    remedy = "let it end, or end it"
    if stuck and (opened := [each for each in openings()[0] if each.vfio]):
        remedy = (
            f"the kernel does not let pid {stuck[0].pid} go while a device is open; end who has it"
            f" open: {', '.join(dict.fromkeys(printable(str(each)) for each in opened))}"
        )
    raise HarnessError(f"{what} is held by {who or 'a process that can not be seen'}: {remedy}")


def _same(inherited: int, opened: int) -> bool:
    try:
        first, second = os.fstat(inherited), os.fstat(opened)
    except OSError:
        return False
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def _openers(lock: int) -> list[int]:
    """The other processes that have the file of the lock open."""
    return [pid for pid in processes() if pid != os.getpid() and _has_open(pid, lock)]


def _has_open(pid: int, lock: int) -> bool:
    """Whether the process has the file of the lock open, as far as it is ours to see."""
    wanted, directory = os.fstat(lock), Path(f"/proc/{pid}/fd")
    try:
        numbers = names_in(directory)
    except OSError:
        return False
    for number in numbers:
        with contextlib.suppress(OSError):
            status = (directory / number).stat()
            if (status.st_dev, status.st_ino) == (wanted.st_dev, wanted.st_ino):
                return True
    return False
