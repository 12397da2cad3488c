"""The pytest of a run on this machine: started, listened to, and ended when it must be."""

import fcntl
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vfio_hw.errors import HarnessError
from vfio_hw.host.process import process_state
from vfio_hw.watchdog import REPORT_SECONDS

_SLICE = 0.2
_PAUSE = 0.02
_AT_ONCE = 1 << 20  # bytes
#: Seconds in which pytest gives back what it has taken, when it is told to end; and in which a
#: process ends that was killed, unless the kernel holds it.
GRACE, LAST_GRACE = 60.0, 10.0


class Stuck(HarnessError):
    """pytest is still there and can not be ended: nothing may be undone beside it."""


class Child:
    """A process of a session of its own, which ends when this one does.

    :param events: the file that it appends its events to, open; this locks it while it may still
        be appended to by whoever watches it.
    """

    def __init__(
        self,
        line: Sequence[str],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        output: int,
        events: int,
        passed: Sequence[int],
    ) -> None:
        self._process = subprocess.Popen(
            # Told to end, not killed: what it has taken is given back.
            ["setpriv", "--pdeathsig=TERM", *line],
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=passed,
            start_new_session=True,
        )
        self._end = os.pidfd_open(self._process.pid)
        self._events, self._offset = events, 0

    def follow(self, silence: float, take: Callable[[dict[str, Any]], None]) -> int | None:
        """Take its events until it ends; its exit status, None when it had to be ended.

        :param silence: seconds between two events after which it is taken to stand still.
        :raises Stuck: it stands still, and can not be killed.
        """
        heard = time.monotonic()
        while not select.select([self._end], [], [], _SLICE)[0]:
            for event in self._new():
                heard = time.monotonic()
                take(event)
            if time.monotonic() - heard > silence:
                self.end()
                for event in self._rest():
                    take(event)
                return None
        for event in self._rest():
            take(event)
        return self._process.wait(timeout=LAST_GRACE)

    def end(self) -> None:
        """End it, in a way that lets it give back what it has taken, if it still can.

        :raises Stuck: the kernel does not let it go.
        """
        for number, grace in ((signal.SIGTERM, GRACE), (signal.SIGKILL, LAST_GRACE)):
            if self._process.poll() is not None:
                return
            self._process.send_signal(number)
            if select.select([self._end], [], [], grace)[0]:
                self._process.wait(timeout=LAST_GRACE)
                return
        raise Stuck(
            f"the kernel does not let pytest go, so nothing was put back beside it:"
            f" {process_state(self._process.pid)}\nwhen pid {self._process.pid} is gone, vfio-hw"
            " restore finishes; after a reboot nothing is left to undo"
        )

    def close(self) -> None:
        """End it, if it has not ended.

        :raises Stuck: the kernel does not let it go.
        """
        try:
            self.end()
        finally:
            os.close(self._end)

    def _rest(self) -> Iterator[dict[str, Any]]:
        """Its last events, and what its watchdog has to say of its end."""
        end = time.monotonic() + REPORT_SECONDS
        while time.monotonic() < end:
            try:
                fcntl.flock(self._events, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_PAUSE)
        return self._new()

    def _new(self) -> Iterator[dict[str, Any]]:
        """The events that have come since the last look."""
        data = b""
        while more := os.pread(self._events, _AT_ONCE, self._offset + len(data)):
            data += more
        *lines, _ = data.split(b"\n")
        self._offset += sum(len(line) + 1 for line in lines)
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and "event" in event:
                yield event
