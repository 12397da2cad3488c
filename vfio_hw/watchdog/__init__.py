"""A process beside pytest that notices a test which does not end, and says what is stuck.

It is forked once, before the tests, holds nothing of theirs, and is no child of pytest's, so that
what a test leaves behind is still told by the children of pytest.
"""

import faulthandler
import fcntl
import os
import signal
import socket
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

from vfio_hw.errors import HarnessError
from vfio_hw.report.events import opened
from vfio_hw.watchdog.guard import TELL, Distrust, Watched, nobody, serve

#: Seconds that each race may take when nobody says how many.
RACE_BUDGET = 3.0

# Outside of the races the longest test waits for three requests, which are 10 s apart, and what
# a debug kernel makes slower takes seconds; a race that meets nobody goes on for 4 budgets.
_TEST_SECONDS, _BUDGETS = 60.0, 4
#: Seconds within which the report on a hung test is written; who listens must wait longer.
REPORT_SECONDS = 60.0


def deadline_for(race_budget: float) -> float:
    """Seconds after which a test counts as hung, for races of so many seconds."""
    return _TEST_SECONDS + _BUDGETS * race_budget


class Watchdog:
    """Our side of it: tells the other process which test runs.

    :param deadline: seconds that a test may take, its fixtures included.
    :param port: where events are written; None: nowhere.
    :param supervised: somebody reads the events, and ends this machine when they say so. Nobody
        does when it is a real one: then the watchdog stops pytest.
    :param distrust: on a real machine is told why its kernel is to get no other test: a test hangs,
        or the kernel has reported a fault when pytest was gone.
    """

    def __init__(
        self,
        deadline: float,
        port: Path | None,
        *,
        supervised: bool,
        distrust: Distrust = nobody,
    ) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # What Python does is told by Python, when it is asked by this signal.
        self._answer, writer = os.pipe()
        os.set_blocking(writer, False)
        self._writer = writer
        faulthandler.register(TELL, file=writer, all_threads=True)
        # So that what a test has changed is given back; by default the signal would just kill.
        self._terminate = signal.getsignal(signal.SIGTERM)
        if self._terminate is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        watched = Watched(os.getpid(), os.pidfd_open(os.getpid()), self._answer)
        kept = -1 if port is None else _kept(port)
        first = os.fork()
        if first == 0:
            life = partial(serve, theirs, watched, deadline, kept)
            _guard(partial(life, supervised=supervised, distrust=distrust))
        theirs.close()
        os.close(watched.pidfd)
        if kept >= 0:
            os.close(kept)
        os.waitpid(first, 0)

    def began(self, test: str) -> None:
        """A test begins.

        :raises HarnessError: the watchdog is gone.
        """
        self._send(b"began " + test.encode())

    def ended(self) -> bool:
        """The test is over; False when the watchdog has already given it its verdict.

        :raises HarnessError: the watchdog is gone.
        """
        self._send(b"ended")
        # The answer comes at once, unless the guard is just looking at what seems to hang.
        self._channel.settimeout(REPORT_SECONDS)
        try:
            answer = self._channel.recv(16)
        except OSError:
            answer = b""
        if not answer:
            raise _gone()
        return answer == b"yours"

    def stop(self) -> None:
        """No more tests."""
        try:
            self._send(b"stop")
        except HarnessError:
            pass  # it has told why, and there is nothing left to watch
        finally:
            self._channel.close()
            faulthandler.unregister(TELL)
            signal.signal(signal.SIGTERM, self._terminate)
            os.close(self._answer)
            os.close(self._writer)

    def _send(self, message: bytes) -> None:
        try:
            self._channel.sendall(message)
        except OSError:
            raise _gone() from None


def _kept(port: Path) -> int:
    """The port, opened. A file is locked, so that who reads it can wait for the last word."""
    descriptor = opened(port, os.O_WRONLY | os.O_APPEND)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def _gone() -> HarnessError:
    return HarnessError(
        "the watchdog of the tests has ended or does not answer: look for its last words in the"
        " output, and for its end in the kernel log"
    )


def _guard(life: Callable[[], None]) -> NoReturn:
    """The life of the first child, which ends at once, and of its child; never returns."""
    try:
        if os.fork() == 0:
            life()
    finally:
        os._exit(0)
