"""A child process that writes to sysfs, and reads it, for us and holds nothing of ours open.

A fork of a process as large as pytest costs more than what it writes, above all under an emulator,
so one child that has come back with an answer is kept for the next write.
"""

import contextlib
import ctypes
import errno
import os
import re
import select
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from vfio_hw.host import lock, process

# CLOCK_MONOTONIC and the processor time used so far, just before the write and just after it.
STARTED = struct.Struct("=dd")
ENDED = struct.Struct("=ddi")  # and the errno of the write
ERRNO = struct.Struct("=i")  # of a read, and after it what was read
_REQUEST = 65536
_LEAVING = 2.0  # seconds for a child that is asked nothing any more
# A handler that does nothing: the signal interrupts the wait in the kernel, and the child lives on
# to tell how the write ended.
_HARMLESS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)

# Mappings that hold a device, an address space or a virtual machine: fork copies them too.
_HOLDING = re.compile(
    r"^([0-9a-f]+)-([0-9a-f]+) .* (?:anon_inode:|/dev/(?:vfio|iommu|kvm)).*$", re.MULTILINE
)

_libc = ctypes.CDLL(None, use_errno=True)
_kept: "list[Writer]" = []  # at most one
_busy: "set[Writer]" = set()
_lost: set[int] = set()


class Writer:
    """One such child, which makes one write at a time."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            _serve(theirs)
        theirs.close()

    def begin(self, path: Path, text: str) -> None:
        """Ask for a write: the answers are ``STARTED`` and ``ENDED``."""
        with contextlib.suppress(OSError):  # it ended, and its answer is that there is none
            self._channel.sendall(os.fsencode(path) + b"\0" + os.fsencode(text))

    def ask(self, path: Path) -> None:
        """Ask for a read: the answers are ``STARTED`` and ``ERRNO`` with what was read."""
        with contextlib.suppress(OSError):
            self._channel.sendall(os.fsencode(path))

    def answer(self, size: int, deadline: float) -> bytes | None:
        """The next answer, b"" when the child is gone, None when the deadline passed."""
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        if not poll.poll(max(0.0, deadline) * 1000):
            return None
        with contextlib.suppress(OSError):
            return self._channel.recv(size)
        return b""

    def give_back(self) -> None:
        """It has answered and may write for others; it ends when there is such a one already."""
        _busy.discard(self)
        if _kept:
            self.leave()
        else:
            _kept.append(self)

    def kill(self) -> None:
        """End it as far as a process can be ended that is blocked in the kernel."""
        _busy.discard(self)
        os.kill(self.pid, signal.SIGKILL)
        self.leave()
        # What a test leaves behind is counted: there is one before it, and so there is one after.
        if not _kept:
            _kept.append(Writer())

    def leave(self) -> None:
        """Ask nothing of it any more; it ends by itself."""
        self._channel.close()
        _lost.add(self.pid)
        reap()

    def close(self) -> None:
        """In a fork of the process that it writes for: leave it alone."""
        self._channel.close()


def taken() -> Writer:
    """A child that is free; it is given back or killed after."""
    reap()
    writer = _kept.pop() if _kept else Writer()
    if writer.answer(1, 0.0) is not None:  # its end
        writer.leave()
        writer = Writer()
    _busy.add(writer)
    return writer


def ready() -> None:
    """Fork the child that is kept, while this process holds nothing yet."""
    taken().give_back()


def _renew() -> None:
    """The machine's lock changes hands: the child that is kept has it, or has it not, and ends."""
    while _kept:
        writer = _kept.pop()
        end = os.pidfd_open(writer.pid)
        writer.leave()
        select.select([end], [], [], _LEAVING)
        os.close(end)
    reap()


lock.changing.append(_renew)


def waiting() -> set[int]:
    """The child that is kept: it has nothing to do."""
    return {writer.pid for writer in _kept}


def unfinished() -> Iterator[process.ProcessState]:
    """Every child whose write has not returned, also of those that were killed."""
    reap()
    for pid in [*(writer.pid for writer in _busy), *_lost]:
        state = process.process_state(pid)
        if state.state not in "ZX":
            yield state


def reap() -> None:
    """Collect those that have ended meanwhile."""
    for pid in list(_lost):
        try:
            gone = os.waitpid(pid, os.WNOHANG)[0]
        except ChildProcessError:  # somebody else in this process collected it
            gone = pid
        if gone:
            _lost.discard(pid)


def _forked() -> None:
    """A fork of this process has children of its own, and leaves ours alone."""
    for writer in (*_busy, *_kept):
        writer.close()
    for ours in (_busy, _kept, _lost):
        ours.clear()


os.register_at_fork(after_in_child=_forked)


def _serve(channel: socket.socket) -> NoReturn:
    """The whole life of the child; never returns, and runs no code of the parent's."""
    try:
        # A session of its own: Ctrl-C at the terminal is not for the waiter.
        os.setsid()
        for harmless in _HARMLESS:
            signal.signal(harmless, lambda *_: None)
        # A descriptor or mapping of the device, inherited, would keep the device open for ever.
        # The machine's lock stays: the machine is not free while this write may still change it.
        first = 0
        for kept in sorted({channel.fileno(), lock.descriptor() or channel.fileno()}):
            os.closerange(first, kept)
            first = kept + 1
        os.closerange(first, os.sysconf("SC_OPEN_MAX"))
        for start, end in _HOLDING.findall(Path("/proc/self/maps").read_text()):
            first = int(start, 16)
            _libc.munmap(ctypes.c_void_p(first), ctypes.c_size_t(int(end, 16) - first))
        while request := channel.recv(_REQUEST):
            path, writes, text = request.partition(b"\0")
            channel.sendall(STARTED.pack(time.monotonic(), time.process_time()))
            if not writes:
                channel.sendall(_read(path))
                continue
            number, returned = _written(path, text)
            channel.sendall(ENDED.pack(returned, time.process_time(), number))
    finally:
        os._exit(0)


def _read(path: bytes) -> bytes:
    try:
        return ERRNO.pack(0) + Path(os.fsdecode(path)).read_bytes()
    except OSError as error:
        return ERRNO.pack(error.errno or errno.EIO)


def _written(path: bytes, text: bytes) -> tuple[int, float]:
    """The errno of one write, and when it returned."""
    try:
        attribute = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        return error.errno or errno.EIO, time.monotonic()
    try:
        # Not os.write(), which writes once more when a signal has ended the first write (PEP 475).
        count = _libc.write(attribute, text, ctypes.c_size_t(len(text)))
        returned = time.monotonic()
        return (
            ctypes.get_errno() if count < 0 else 0 if count == len(text) else errno.EIO
        ), returned
    finally:
        os.close(attribute)
