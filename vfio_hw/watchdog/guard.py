"""The watchdog's own life: it waits for tests to end, and speaks when one does not."""

import contextlib
import json
import os
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.host.state import write_all
from vfio_hw.host.text import printable_lines
from vfio_hw.oracle.holders import holders
from vfio_hw.oracle.splats import splats
from vfio_hw.oracle.taint import faults
from vfio_hw.report.events import Event, Result
from vfio_hw.watchdog.advice import advice
from vfio_hw.watchdog.death import fault
from vfio_hw.watchdog.evidence import gathered
from vfio_hw.watchdog.log import Log

# Seconds between two looks. At most twice as much of a deadline passes in between: when the whole
# machine was stopped for longer, that was not the test's time.
_SLICE = 5.0
_PYTHON_PATIENCE = 2.0
_GRACE = 20.0  # for giving devices back, each of which may have to be reset
_LAST_GRACE = 5.0
#: Asks pytest what Python does; no test sends it to pytest itself.
TELL = signal.SIGUSR2

_MUTE = "(it can not say: it is inside the kernel)"
_MESSAGE = 65536
_LONGEST_LOG = 300  # lines of one part of the kernel log


@dataclass(frozen=True)
class Watched:
    """The process that may hang, and where it says what Python does when it is asked."""

    pid: int
    pidfd: int
    answer: int


Distrust = Callable[[str], None]
"""Notes for later runs, also of a kernel that took pytest with it, why it gets no other test."""


def nobody(why: str) -> None:
    """Nobody runs after us on this kernel."""


def serve(
    channel: socket.socket,
    process: Watched,
    deadline: float,
    port: int,
    *,
    supervised: bool,
    distrust: Distrust = nobody,
) -> None:
    """Live until pytest ends; see :class:`vfio_hw.watchdog.Watchdog`."""
    try:
        needed = [channel.fileno(), process.pidfd, process.answer, port]
        _detach([each for each in needed if each >= 0])
        _Guard(channel, process, deadline, port, supervised, distrust).serve()
    except BaseException:
        _say(f"the watchdog of the tests failed:\n{traceback.format_exc()}")


class _Guard:
    def __init__(
        self,
        channel: socket.socket,
        process: Watched,
        deadline: float,
        port: int,
        supervised: bool,
        distrust: Distrust = nobody,
    ) -> None:
        self._channel, self._process, self._deadline = channel, process, deadline
        self._port, self._supervised, self._distrust = port, supervised, distrust
        self._log = Log()
        self._log.begin()
        self._logged: list[str] = []
        self._test, self._last = "", "the start of pytest"
        self._faults = faults()
        self._began, self._left = time.monotonic(), 0.0
        self._told = False
        self._over = False  # pytest needs us no more, or is gone

    def serve(self) -> None:
        while not self._over:
            self._listen(_SLICE)
            if self._watching and self._left <= 0:
                self._expired()

    @property
    def _watching(self) -> bool:
        return bool(self._test) and not self._told and not self._over

    def _listen(self, seconds: float) -> None:
        """Take what comes within so many seconds: a message, or the end of pytest."""
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        poll.register(self._process.pidfd, select.POLLIN)
        wanted = min(seconds, max(self._left, 0.0)) if self._watching else seconds
        before = time.monotonic()
        ready = dict(poll.poll(wanted * 1000))
        self._left -= min(time.monotonic() - before, 2 * _SLICE)
        message = self._channel.recv(_MESSAGE) if self._channel.fileno() in ready else b""
        if message:
            self._take(message)
        elif ready:
            # The exit status is seen by whoever supervises.
            if not self._told and not self._supervised:
                self._died()
            self._over = True

    def _take(self, message: bytes) -> None:
        word, _, test = message.partition(b" ")
        if word == b"began":
            self._test, self._told = test.decode(), False
            self._began, self._left = time.monotonic(), self._deadline
            self._log.begin()
            self._logged, self._faults = [], faults()
        elif word == b"ended":
            self._channel.send(b"told" if self._told else b"yours")
            self._test, self._last = "", self._test
        elif word == b"stop":
            self._over = True

    def _expired(self) -> None:
        """The test did not end in time: its verdict, unless it ends while we look."""
        running = (self._test, self._began)
        found = gathered(self._process.pid, self._kernel_says)
        while not self._over and select.select([self._channel], [], [], 0)[0]:
            self._listen(0.0)
        if self._over or (self._test, self._began) != running:
            return
        self._told = True
        reports = splats(self._logged)
        titles = [f"hang: {found.title}", *(f"kernel log: {splat.title}" for splat in reports)]
        head = f"{self._test} did not end within {self._deadline:g} s"
        blocked = any(task.tid == self._process.pid for task in found.blocked)
        python = f"what Python does there:\n{_MUTE if blocked else self._python()}"
        text = "\n".join([head, found.summary, "", python, "", found.details])
        self._report("failed", "hang", text, titles)
        self._unusable(f"{self._test} hangs")
        if not self._supervised:
            advised = advice(found.blocked, found.held)
            _say(f"{head}\n{found.summary}\n{advised}\n\n{python}\n{found.details}")
            self._stop(advised)

    def _died(self) -> None:
        """Pytest is gone without a word, in a test or after it: if the kernel did that, say so."""
        if found := fault(self._log.lines, faults() - self._faults):
            where = f"while {self._test} ran" if self._test else f"after {self._last}"
            text = f"pytest (pid {self._process.pid}) ended {where}, and the kernel has reported:"
            text = f"{text}\n{found.text}"
            self._report("failed", "kernel log", text, found.titles)
            self._unusable(f"{found.titles[0]} {where}")
            _say(text)
        elif self._test:
            held = "\n".join(holders()) or "nobody"
            text = (
                f"pytest (pid {self._process.pid}) ended while {self._test} ran: its exit status"
                " says how, and the kernel log whether it ran out of memory; what it had taken from"
                " its driver was not given back\nopen VFIO and IOMMUFD files are held by:\n"
                f"{held}"
            )
            self._report("error", "exit", text, [])
            _say(text)

    def _unusable(self, why: str) -> None:
        """The kernel is to be given no other test; by whoever listens, and by later runs."""
        self._event({"event": "unusable", "text": why})
        if not self._supervised:
            try:
                self._distrust(why)
            except (OSError, HarnessError) as error:
                _say(
                    f"that the kernel is not to be trusted can not be kept for later runs: {error}"
                )

    def _stop(self, advised: str) -> None:
        """End pytest, in a way that lets it give the devices back if it can still do that."""
        pid = self._process.pid
        for number, grace in ((signal.SIGTERM, _GRACE), (signal.SIGKILL, _LAST_GRACE)):
            _say(f"sending {number.name} to pytest, pid {pid}")
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process.pidfd, number)
            end = time.monotonic() + grace
            while not self._over and (left := end - time.monotonic()) > 0:
                self._listen(left)
            if self._over:
                _say(f"pytest ends after {number.name}")
                return
        _say(f"the kernel does not let pytest go, pid {pid}. {advised}")
        self._over = True

    def _kernel_says(self) -> list[str]:
        lines = self._log.lines()
        self._logged += lines
        return lines[-_LONGEST_LOG:]

    def _python(self) -> str:
        """What the threads of pytest do, in Python's words."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process.pidfd, TELL)
        said, patience = b"", _PYTHON_PATIENCE
        while select.select([self._process.answer], [], [], patience)[0]:
            said += os.read(self._process.answer, _MESSAGE)
            patience = 0.1
        return said.decode(errors="replace") or _MUTE

    def _report(self, verdict: str, oracle: str, text: str, titles: list[str]) -> None:
        seconds = round(time.monotonic() - self._began, 3)
        test = self._test or f"after {self._last}"
        result = Result(test, verdict, seconds, text, oracle, {}, titles)
        self._event(result.as_event())

    def _event(self, event: Event) -> None:
        data = json.dumps(event).encode() + b"\n"
        while self._port >= 0 and data:
            data = data[os.write(self._port, data) :]


def _detach(needed: list[int]) -> None:
    """Hold nothing of pytest's but its standard error, and hear nothing from its terminal."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    Path("/proc/self/comm").write_text("watchdog")
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    first = 3
    for descriptor in sorted(needed):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def _say(text: str) -> None:
    write_all(2, f"vfio-hw: {printable_lines(text)}\n".encode(errors="replace"))
