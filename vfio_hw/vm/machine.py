"""One guest from power-on to its end, and which end that was."""

import contextlib
import json
import os
import selectors
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vfio_hw.vm import vmcore
from vfio_hw.vm.console import Console
from vfio_hw.vm.outcome import Deadlines, Ending, GuestRun
from vfio_hw.vm.power import PORT_SIZE, Guest, Powered, power_on
from vfio_hw.vm.qemu_log import killed_by, why_silent
from vfio_hw.vm.qmp import Qmp
from vfio_hw.vm.requests import Requests
from vfio_hw.vm.stalled import why_stalled

# Why a guest ends that was reset by its monitor.  Source: ShutdownCause in QEMU's QMP Reference.
_RESET_ASKED = "host-qmp-system-reset"
_CONSOLE, _EVENTS, _OUTPUT, _QUICK_EVENTS, _MONITOR, _REQUESTS = range(6)
# A panic prints its trace after the sentence that we recognise it by.
_LAST_WORDS = 3.0
# So long is listened to what a guest still has to say when its time is over.
_OVERTIME = 30.0

Event = dict[str, Any]


def run(
    guest: Guest,
    out: Path,
    *,
    deadlines: Deadlines | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    on_output: Callable[[bytes], None] = lambda data: None,
    stop: threading.Event | None = None,
) -> GuestRun:
    """Boot ``guest``, run its command, and tell how it ended; never later than its deadlines.

    :param out: directory for ``console.log`` and ``qemu.log``; made when missing.
    :param on_event: gets every object that arrives on the event port.
    :param stop: when another thread sets it, the guest is cut off within a second.
    :raises HarnessError: when QEMU is not installed.
    """
    out.mkdir(parents=True, exist_ok=True)
    life = _Life(guest, out, deadlines or Deadlines(), on_event, on_output)
    life.stop = stop or life.stop
    return life.lived()


class _Life:
    def __init__(
        self,
        guest: Guest,
        out: Path,
        deadlines: Deadlines,
        on_event: Callable[[Event], None],
        on_output: Callable[[bytes], None],
    ) -> None:
        self._guest, self._out, self._deadlines = guest, out, deadlines
        self._on_event, self._on_output = on_event, on_output
        self.stop = threading.Event()
        self._pending = {_EVENTS: b"", _QUICK_EVENTS: b""}
        self._status: int | None = None
        self._booted = self._spoken = self._unusable = self._ended_itself = False
        self._reset = self._endless = False
        self._failure = self._stalled = ""
        self._started = self._heard = time.monotonic()
        self._late_since: float | None = None

    def lived(self) -> GuestRun:
        """Power on, listen until an end, power off."""
        dump = ""
        with (self._out / "console.log").open("ab") as file:
            self._console = Console(file)
            powered = power_on(self._guest, self._out / "qemu.log")
            try:
                monitor = Qmp(powered.monitor)
                self._listen(powered, monitor)
                if self._guest.vmcore and self._console.panicked_at is not None:
                    dump = vmcore.dumped(monitor, self._out / "vmcore")
            finally:
                powered.off()
        ending, text = self._judged(powered.process.returncode or 0)
        seconds = time.monotonic() - self._started
        return GuestRun(ending, self._status, seconds, self._out / "console.log", text, dump)

    def _listen(self, powered: Powered, monitor: Qmp) -> None:
        requests = Requests(powered.requests, monitor, self._on_event)
        with selectors.DefaultSelector() as selector:
            for number, port in enumerate(powered.ports):
                selector.register(port, selectors.EVENT_READ, number)
            open_ports = len(powered.ports)
            selector.register(monitor, selectors.EVENT_READ, _MONITOR)
            selector.register(requests, selectors.EVENT_READ, _REQUESTS)
            while open_ports:
                if self._status is not None or self._failure or self.stop.is_set():
                    return
                left = self._time_left()
                soon = min(max(min(left, requests.time_left()), 0.0), 1.0)
                ready = selector.select(soon)
                requests.go_on()
                if self._is_late(left, bool(ready)):
                    emulated = self._guest.accelerator == "tcg"
                    with (self._out / "monitor.log").open("a") as log:
                        self._stalled = why_stalled(monitor, log, emulated=emulated)
                    return
                # That the guest has ended comes by the serial port, when all else has been said.
                for key, _ in sorted(ready, key=lambda each: each[0].data == _EVENTS):
                    if key.data == _MONITOR:
                        self._monitored(selector, monitor, requests)
                    elif key.data == _REQUESTS:
                        if not requests.take():
                            selector.unregister(requests)
                    else:
                        data = os.read(key.fd, PORT_SIZE)
                        if not data:
                            selector.unregister(key.fileobj)
                            open_ports -= 1
                        self._take(key.data, data)
        # QEMU has closed its ports, so it is about to end; its status tells why.
        self._ended_itself = True
        with contextlib.suppress(subprocess.TimeoutExpired):
            powered.process.wait(timeout=5.0)
        self._note(monitor.rest())

    def _is_late(self, left: float, speaks: bool) -> bool:
        """Late is a guest that has nothing to say: it may be us who were not listening.

        Or one that does not come to an end with it while we were.
        """
        now = time.monotonic()
        if left > 0:
            self._late_since = None
            return False
        self._late_since = self._late_since or now
        self._endless = speaks and now - self._late_since > _OVERTIME
        return self._endless or not speaks

    def _monitored(
        self, selector: selectors.BaseSelector, monitor: Qmp, requests: Requests
    ) -> None:
        try:
            events = monitor.heard()
        except EOFError:
            selector.unregister(monitor)
        else:
            self._note(events)
            requests.pass_on(events)

    def _note(self, events: list[Event]) -> None:
        for event in events:
            if event["event"] == "SHUTDOWN":
                self._reset |= event.get("data", {}).get("reason") == _RESET_ASKED

    def _take(self, port: int, data: bytes) -> None:
        if port == _CONSOLE:
            self._console.take(data)
        elif port == _OUTPUT:
            self._on_output(data)
        else:
            *lines, self._pending[port] = (self._pending[port] + data).split(b"\n")
            for line in lines:
                self._event(line)

    def _event(self, line: bytes) -> None:
        try:
            event = json.loads(line)
            kind = event["event"]
        except (ValueError, TypeError, KeyError):
            # A kernel that is being broken may write anywhere; the line stays readable.
            event, kind = {"event": "noise", "text": line.decode(errors="replace")}, "noise"
        self._heard = time.monotonic()
        if kind == "booted":
            self._booted = True
            self._on_event(event)
        elif kind == "exit":
            self._status = int(event["status"])
        elif kind == "guest_failed":
            self._failure = str(event["text"])
        else:
            self._spoken = True
            self._unusable |= kind == "unusable"
            self._on_event(event)

    def _time_left(self) -> float:
        now = time.monotonic()
        limits = [self._started + self._deadlines.whole]
        if not self._booted:
            limits.append(self._started + self._deadlines.boot)
        elif self._deadlines.silence is not None:
            # Before its first word the command has to load all its code over 9p.
            patience = 0.0 if self._spoken else self._deadlines.boot
            limits.append(self._heard + max(patience, self._deadlines.silence))
        if self._unusable:
            # What made it so may well hold its command for ever.
            limits.append(self._heard + self._deadlines.farewell)
        if self._console.panicked_at is not None:
            limits.append(self._console.panicked_at + _LAST_WORDS)
        return min(limits) - now

    def _judged(self, returncode: int) -> tuple[Ending, str]:
        if self._status is not None:
            return Ending.EXITED, f"the command ended with status {self._status}"
        if self._console.panicked_at is not None:
            return Ending.PANICKED, self._console.last_words
        if self.stop.is_set():
            return Ending.CUT_OFF, "the guest was stopped with the others"
        if self._reset:
            return Ending.RESET, "the guest was reset, which it had asked for"
        said = (self._out / "qemu.log").read_text(errors="replace")
        if self._ended_itself and (killed := killed_by(said, returncode)):
            return Ending.CUT_OFF, f"QEMU was killed: {killed}"
        if self._failure:
            return Ending.NO_BOOT, self._failure
        if not (self._booted or self._console.alive):
            return Ending.NO_BOOT, why_silent(said, returncode if self._ended_itself else None)
        if self._ended_itself and returncode:
            return Ending.CUT_OFF, f"QEMU ended with status {returncode} under a running guest"
        if self._time_left() > 0:
            return Ending.PANICKED, "the guest was reset without a word on its console"
        if time.monotonic() > self._started + self._deadlines.whole:
            return Ending.CUT_OFF, f"the guest had run for {self._deadlines.whole:g} s, its limit"
        if self._unusable:
            return Ending.HUNG, "the guest was unusable and did not end itself"
        if self._stalled:
            return Ending.CUT_OFF, self._stalled
        stage = "after it booted" if self._booted else "while it booted"
        if self._endless:
            return Ending.HUNG, f"the guest did not stop printing {stage}, beyond the deadline"
        return Ending.HUNG, f"the guest said nothing more {stage}, until the deadline"


__all__ = ["Deadlines", "Ending", "Event", "Guest", "GuestRun", "run"]
