"""A sysfs write that the kernel may never answer runs in a child process and has a deadline.

Removing a mediated device or unbinding a driver waits inside the kernel until the last descriptor
of the device is closed. No signal ends that wait, so it must never be our own process that waits.
"""

import errno
import os
import signal
import time
from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import Self

from vfio_hw.errors import HarnessError, KernelSplat
from vfio_hw.host import process
from vfio_hw.host.sysfs import Told, about_to_write, has_written, refused
from vfio_hw.host.timers import stopped_here as timers_stopped
from vfio_hw.host.writer import ENDED, STARTED, Writer, taken

_START_DEADLINE = 10.0

_took: defaultdict[str, float] = defaultdict(float)


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
        self._writer: Writer | None = None
        self._told: Told = []
        self._cpu = 0.0  # what the child had used when it began; what the write took, once it ended

    def start(self) -> Self:
        """Return when the child is about to write.

        :raises Unsupported: without the rights of root, which it takes.
        """
        if self.pid:
            raise HarnessError(f"the write to {self.path} was already started")
        if os.geteuid() != 0 and self.path.exists() and not os.access(self.path, os.W_OK):
            raise refused(errno.EACCES, self.path, self.text)
        # First, as a journal that can not be written leaves nothing to be taken back.
        self._told = about_to_write(self.path, self.text)
        self._writer = taken()
        self.pid = self._writer.pid
        self._writer.begin(self.path, self.text)
        report = self._writer.answer(STARTED.size, _START_DEADLINE)
        if not report:
            self.abandon()
            raise HarnessError(f"the child that writes to {self.path} did not start: try again")
        self.started_at, self._cpu = STARTED.unpack(report)
        return self

    def wait(self, deadline: float) -> int | None:
        """The errno of the write (0: it succeeded), or None when ``deadline`` seconds passed first.

        EINTR says that a signal killed the child before it could report.
        """
        if self._errno is None and self._writer:
            report = self._writer.answer(ENDED.size, deadline)
            if report is not None:
                self._finish(self._writer, report)
        return self._errno

    def must_return(self, deadline: float) -> None:
        """The write succeeds within ``deadline`` seconds.

        :raises KernelRefused: with its errno.
        :raises KernelSplat: it did not return in time; says where in the kernel it is, and which
            timers have stopped.
        """
        answer = self.wait(deadline)
        if answer is None:
            timers = timers_stopped()
            text = (
                f"write of {self.text.strip()!r} to {self.path} did not return within"
                f" {deadline:g} s, look for who holds the device open: {self.stack()}"
            )
            raise KernelSplat("\n".join([text, *timers]), oracle="hang")
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
        """Processor time the write has taken: a waiter that sleeps uses next to none."""
        return process.cpu_seconds(self.pid) - self._cpu if self.blocked else self._cpu

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child; nothing happens when the write has returned."""
        if self.blocked:
            os.kill(self.pid, number)

    def abandon(self) -> None:
        """Stop caring: a child that is still blocked is killed as far as it can be, and left."""
        if self._writer:
            self._writer.kill()
            self._writer = None
            self.lost = True

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

    def _finish(self, writer: Writer, report: bytes) -> None:
        self._writer = None
        if report:
            finished, cpu, self._errno = ENDED.unpack(report)
            self.finished_at, self._cpu = finished, cpu - self._cpu
            _took[self.path.name] += finished - self.started_at
            writer.give_back()
            has_written(self._told, made=self._errno == 0)
        else:  # whether it was made nobody knows
            self.finished_at, self._errno = time.monotonic(), errno.EINTR
            writer.kill()


def took() -> dict[str, float]:
    """Seconds that writes which have returned were in the kernel since this was last asked.

    By the attribute that was written: ``create``, ``remove``, ``bind``, ``unbind``.
    """
    since = dict(_took)
    _took.clear()
    return since


def write_with_deadline(path: Path, text: str, deadline: float) -> None:
    """Write an attribute whose store operation may wait, and be back after ``deadline`` seconds.

    :raises KernelRefused: with the errno of the write.
    :raises KernelSplat: the write did not return in time; says where in the kernel it is.
    """
    with BlockingWrite(path, text) as write:
        write.must_return(deadline)
