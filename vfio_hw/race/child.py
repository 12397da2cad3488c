"""The process that runs the rounds: a call that never returns costs this process, nothing more."""

import mmap
import os
import select
import signal
import socket
from typing import Any

from vfio_hw.errors import HarnessError, Unsupported
from vfio_hw.uapi import ffi, lib

# How long a killed process may take to go; one with a thread in state D does not go at all.
REAP_SECONDS = 1.0
ASK_SECONDS = 0.3


class ChildDied(HarnessError):
    """The process ended by itself; says how."""


class Child:
    """A forked process in the engine's loop, and the memory shared with it.

    Every child has memory of its own: one that is given up for lost may write to it much later.
    """

    def __init__(self) -> None:
        _check_machine()
        self._memory = ffi.from_buffer("struct race *", mmap.mmap(-1, ffi.sizeof("struct race")))
        self.shared: Any = self._memory[0]
        self.shared.page_size = mmap.PAGESIZE
        self._slow = mmap.mmap(-1, mmap.PAGESIZE * lib.RACE_SLOW_PAGES, mmap.MAP_PRIVATE)
        slow = ffi.from_buffer(self._slow, require_writable=True)
        self.shared.slow_address = int(ffi.cast("uintptr_t", slow))
        self._channel, other = socket.socketpair()
        with other:
            self.pid = self._fork(other.fileno())
        self._pidfd = os.pidfd_open(self.pid)
        self._status: int | None = None

    def run(self, deadline: float) -> None:
        """Runs the round that lies in the shared memory.

        :param deadline: seconds.
        :raises TimeoutError: when the round has not ended by then; the child is in it still.
        :raises ChildDied: when the child is no more.
        """
        self._channel.settimeout(deadline)
        try:
            self._channel.sendall(b"\0")
            answer = self._channel.recv(1)
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
        if not answer:
            raise ChildDied(self._ending())

    def end(self) -> str:
        """Ends the process and returns how it went; :meth:`reap` tells whether it is gone.

        It is asked first, and then closes what its actors hold: a removal that waits for a
        descriptor of its own process waits for ever once that process is killed.
        """
        self._channel.close()
        if self.reap(ASK_SECONDS) is not None:
            return "ended when asked"
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        if self.reap(REAP_SECONDS) is not None:
            return "was killed"
        return "was killed and is still there, held by the kernel"

    def reap(self, seconds: float) -> int | None:
        """The wait status of the process that has ended, or None when it has not in that time."""
        if self._pidfd < 0:
            return self._status
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if not poll.poll(seconds * 1000):
            return None
        self._status = os.waitpid(self.pid, 0)[1]
        os.close(self._pidfd)
        self._pidfd = -1
        return self._status

    def _fork(self, channel: int) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            status = lib.race_serve(self._memory, channel, parent)
        finally:
            os._exit(status)

    def _ending(self) -> str:
        status = self.reap(REAP_SECONDS)
        if status is None:
            return "closed its channel and did not end"
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            return f"died of {signal.Signals(-code).name}"
        return f"ended with errno {code} ({os.strerror(code)})"


def _check_machine() -> None:
    if ffi.sizeof("long") < 8:
        raise Unsupported(
            "offsets and pointers of races take 64 bits each, and a call here 32: run them with a"
            " 64-bit kernel and Python"
        )
    if lib.RACE_LARGEST_PAGE < mmap.PAGESIZE:
        raise HarnessError(
            f"pages of {mmap.PAGESIZE} bytes are larger than the race engine knows: raise"
            " RACE_LARGEST_PAGE in engine.cdef"
        )
