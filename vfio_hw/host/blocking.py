"""A sysfs write that the kernel may never answer runs in a child process and has a deadline.

Removing a mediated device or unbinding a driver waits inside the kernel until the last descriptor
of the device is closed. No signal ends that wait, so it must never be our own process that waits.
"""

import ctypes
import errno
import os
import re
import select
import signal
import struct
import time
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from vfio_hw.errors import HarnessError, KernelSplat
from vfio_hw.host import process
from vfio_hw.host.sysfs import refused

_STARTED = struct.Struct("=d")  # CLOCK_MONOTONIC just before the write
_ENDED = struct.Struct("=di")  # CLOCK_MONOTONIC just after it, and its errno
_START_DEADLINE = 10.0
# A handler that does nothing: the signal interrupts the wait in the kernel, and the child lives on
# to tell how the write ended.
_HARMLESS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)

# Mappings that hold a device, an address space or a virtual machine: fork copies them too.
_HOLDING = re.compile(
    r"^([0-9a-f]+)-([0-9a-f]+) .* (?:anon_inode:|/dev/(?:vfio|iommu|kvm)).*$", re.MULTILINE
)

_libc = ctypes.CDLL(None)
_lost: set[int] = set()


class BlockingWrite:
    """One write of ``text`` to ``path``, made by a child process that holds nothing of ours open.

    A context manager: on the way out a write that still blocks is abandoned.
    """

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text
        self.pid = 0
        self.started_at = 0.0  #: CLOCK_MONOTONIC seconds, taken just before the write
        self.finished_at: float | None = None  #: the same, just after the write returned
        self.lost = False  #: abandoned while it blocked; the child ends when the kernel lets it
        self._errno: int | None = None
        self._pipe = -1
        self._cpu = 0.0

    def start(self) -> Self:
        """Fork the child and return when it is about to write."""
        _reap_lost()
        if self.pid:
            raise HarnessError(f"the write to {self.path} was already started")
        self._pipe, theirs = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _child(self.path, self.text, theirs)
        os.close(theirs)
        report = self._read(_STARTED.size, _START_DEADLINE)
        if not report:
            self.abandon()
            raise HarnessError(f"the child that writes to {self.path} did not start: try again")
        (self.started_at,) = _STARTED.unpack(report)
        return self

    def wait(self, deadline: float) -> int | None:
        """The errno of the write (0: it succeeded), or None when ``deadline`` seconds passed first.

        EINTR says that a signal killed the child before it could report.
        """
        if self._errno is None and self._pipe >= 0:
            report = self._read(_ENDED.size, deadline)
            if report is not None:
                self._finish(report)
        return self._errno

    def must_return(self, deadline: float) -> None:
        """The write succeeds within ``deadline`` seconds.

        :raises KernelRefused: with its errno.
        :raises KernelSplat: it did not return in time; says where in the kernel it is.
        """
        answer = self.wait(deadline)
        if answer is None:
            raise KernelSplat(
                f"write of {self.text.strip()!r} to {self.path} did not return within"
                f" {deadline:g} s, look for who holds the device open: {self.stack()}",
                oracle="hang",
            )
        if answer:
            raise refused(answer, self.path, self.text)

    @property
    def blocked(self) -> bool:
        """The write has been started and has not returned."""
        return self.pid != 0 and not self.lost and self.wait(0.0) is None

    def status(self) -> process.ProcessState:
        """State, wait channel and kernel stack of the child."""
        return process.process_state(self.pid)

    def stack(self) -> str:
        """The same as text, for a report."""
        return str(self.status())

    def cpu_seconds(self) -> float:
        """Processor time the child has used: a waiter that sleeps uses next to none."""
        return process.cpu_seconds(self.pid) if self.blocked else self._cpu

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child; nothing happens when the write has returned."""
        if self.blocked:
            os.kill(self.pid, number)

    def abandon(self) -> None:
        """Stop caring: a child that is still blocked is killed as far as it can be, and left."""
        if self._pipe < 0:
            return
        os.close(self._pipe)
        self._pipe = -1
        self.lost = True
        os.kill(self.pid, signal.SIGKILL)
        _lost.add(self.pid)
        _reap_lost()

    def __enter__(self) -> Self:
        return self if self.pid else self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.wait(0.0) is None:
            self.abandon()

    def _read(self, size: int, deadline: float) -> bytes | None:
        """One report of the child, b"" when the child is gone, None when the deadline passed."""
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        if not poll.poll(max(0.0, deadline) * 1000):
            return None
        return os.read(self._pipe, size)

    def _finish(self, report: bytes) -> None:
        os.close(self._pipe)
        self._pipe = -1
        # The report is the child's last act, so this does not wait for the kernel's write.
        _, _, usage = os.wait4(self.pid, 0)
        self._cpu = usage.ru_utime + usage.ru_stime
        if report:
            self.finished_at, self._errno = _ENDED.unpack(report)
        else:
            self.finished_at, self._errno = time.monotonic(), errno.EINTR


def write_with_deadline(path: Path, text: str, deadline: float) -> None:
    """Write an attribute whose store operation may wait, and be back after ``deadline`` seconds.

    :raises KernelRefused: with the errno of the write.
    :raises KernelSplat: the write did not return in time; says where in the kernel it is.
    """
    with BlockingWrite(path, text) as write:
        write.must_return(deadline)


def _child(path: Path, text: str, report: int) -> NoReturn:
    """The whole life of the child; never returns, and runs no code of the parent's."""
    number = 0
    try:
        # A session of its own: Ctrl-C at the terminal is not for the waiter.
        os.setsid()
        for harmless in _HARMLESS:
            signal.signal(harmless, lambda *_: None)
        # A descriptor or mapping of the device, inherited, would keep the device open for ever.
        os.closerange(0, report)
        os.closerange(report + 1, os.sysconf("SC_OPEN_MAX"))
        for start, end in _HOLDING.findall(Path("/proc/self/maps").read_text()):
            first = int(start, 16)
            _libc.munmap(ctypes.c_void_p(first), ctypes.c_size_t(int(end, 16) - first))
        os.write(report, _STARTED.pack(time.monotonic()))
        try:
            os.write(os.open(path, os.O_WRONLY), text.encode())
        except OSError as error:
            number = error.errno or errno.EIO
        os.write(report, _ENDED.pack(time.monotonic(), number))
    finally:
        os._exit(0)


def _reap_lost() -> None:
    """Collect abandoned children that the kernel has let go meanwhile."""
    for pid in list(_lost):
        try:
            gone = os.waitpid(pid, os.WNOHANG)[0]
        except ChildProcessError:  # somebody else in this process collected it
            gone = pid
        if gone:
            _lost.discard(pid)
