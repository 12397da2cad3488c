"""What ends a run: one signal. Those that follow do not disturb what is given back then."""

import contextlib
import os
import re
import signal
from collections.abc import Collection, Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

#: What a person, a service manager or a terminal that goes sends to end a process.
ASKING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
# Those that do not end a process: signal(7). Python ignores SIGPIPE and SIGXFSZ.
_HARMLESS = frozenset({signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGCONT})
_HARMLESS |= {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGURG, signal.SIGWINCH}
# Of what the process itself has done; Python could not go on after one.
_FAULTS = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP})
_FAULTS |= {signal.SIGABRT, signal.SIGSYS}
#: All that would end a process and can be caught: batch systems warn with SIGUSR1 and SIGXCPU.
ANY = frozenset(signal.valid_signals()) - _HARMLESS - _FAULTS - {signal.SIGKILL, signal.SIGSTOP}
_SAID = b"vfio-hw: restoring; the machine is being put back as it was, and no signal ends that\n"


class Ending:
    """The first of these signals is a KeyboardInterrupt, where it is heeded; the next are told.

    A context manager; the handlers that were there before are back after it. Signals that nobody
    asks with are taken where they would end this process: not where they are ignored, or caught.
    A fork of this process has no share in it: there each signal is a KeyboardInterrupt.

    :param numbers: of the signals.
    """

    def __init__(self, numbers: Collection[int] = ANY) -> None:
        self._numbers = numbers
        self._pid = os.getpid()
        self._came = self._heeding = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # Of those that ask nohup ignores the one, and is heeded.
        nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        asking = ASKING - {signal.SIGHUP} if nohup else ASKING
        ending = asking | (ANY - ASKING - _not_default())
        wanted = [each for each in self._numbers if each in ending]
        self._before = {number: signal.signal(number, self._heard) for number in wanted}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def heeded(self) -> Iterator[None]:
        """What is done inside ends at the first signal, at once if that has come before.

        :raises KeyboardInterrupt: it came.
        """
        self._heeding = True
        try:
            if self._came:
                raise KeyboardInterrupt
            yield
        finally:
            self._heeding = False

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            raise KeyboardInterrupt
        first, self._came = not self._came, True
        if first and self._heeding:
            raise KeyboardInterrupt
        with contextlib.suppress(OSError):
            os.write(2, _SAID)


def _not_default() -> set[int]:
    """The signals that this process ignores, or has a handler of, Python's or not: proc(5)."""
    status = Path("/proc/self/status").read_text()
    masks = [int(mask, 16) for mask in re.findall(r"^Sig(?:Ign|Cgt):\t(\w+)$", status, re.M)]
    return {number for number in ANY for mask in masks if mask >> (number - 1) & 1}
