"""One guest from power-on to its end, and which end that was."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from vfio_hw.vm import vmcore
from vfio_hw.vm.outcome import Deadlines, Ending, GuestRun
from vfio_hw.vm.power import PORT_SIZE, Guest, Powered, power_on
from vfio_hw.vm.qmp import Qmp
from vfio_hw.vm.requests import Requests
from vfio_hw.vm.stalled import stalled

_ALIVE = b"Linux version"
_PANIC = b"Kernel panic - not syncing"
# What QEMU says when it is asked to end, and then ends as if its guest had powered off.
_TERMINATED = "terminating on signal"
# Why a guest ends that was reset by its monitor.  Source: ShutdownCause in QEMU's QMP Reference.
_RESET_ASKED = "host-qmp-system-reset"
_CONSOLE, _EVENTS, _OUTPUT, _QUICK_EVENTS, _MONITOR, _REQUESTS = range(6)
# A panic prints its trace after the sentence that we recognise it by.
_LAST_WORDS = 3.0

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
        self._console, self._pending = bytearray(), {_EVENTS: b"", _QUICK_EVENTS: b""}
        self._status: int | None = None
        self._booted = self._spoken = self._unusable = self._ended_itself = False
        self._reset = self._stalled = False
        self._failure = ""
        self._started = self._heard = time.monotonic()
        self._panicked_at: float | None = None

    def lived(self) -> GuestRun:
        """Power on, listen until an end, power off."""
        dump = ""
        with (self._out / "console.log").open("ab") as console:
            powered = power_on(self._guest, self._out / "qemu.log")
            try:
                monitor = Qmp(powered.monitor)
                self._listen(powered, monitor, console)
                if self._guest.vmcore and self._panicked_at is not None:
                    dump = vmcore.dumped(monitor, self._out / "vmcore")
            finally:
                powered.off()
        ending, text = self._judged(powered.process.returncode or 0)
        seconds = time.monotonic() - self._started
        return GuestRun(ending, self._status, seconds, self._out / "console.log", text, dump)

    def _listen(self, powered: Powered, monitor: Qmp, console: BinaryIO) -> None:
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
                # Late is only a guest that has nothing to say: it may be us who were not listening.
                if left <= 0 and not ready:
                    self._stalled = self._guest.accelerator == "tcg" and stalled(monitor)
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
                        self._take(key.data, data, console)
        # QEMU has closed its ports, so it is about to end; its status tells why.
        self._ended_itself = True
        with contextlib.suppress(subprocess.TimeoutExpired):
            powered.process.wait(timeout=5.0)
        self._note(monitor.rest())

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

    def _take(self, port: int, data: bytes, console: BinaryIO) -> None:
        if port == _CONSOLE:
            console.write(data)
            console.flush()
            self._console += data
            if self._panicked_at is None and _PANIC in self._console:
                self._panicked_at = time.monotonic()
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
        if self._panicked_at is not None:
            limits.append(self._panicked_at + _LAST_WORDS)
        return min(limits) - now

    def _judged(self, returncode: int) -> tuple[Ending, str]:
        if self._status is not None:
            return Ending.EXITED, f"the command ended with status {self._status}"
        if self._panicked_at is not None:
            start = self._console.index(_PANIC)
            line = bytes(self._console[start:]).splitlines()[0]
            return Ending.PANICKED, line.decode(errors="replace")
        if self.stop.is_set():
            return Ending.CUT_OFF, "the guest was stopped with the others"
        if self._reset:
            return Ending.RESET, "the guest was reset, which it had asked for"
        if killed := self._killed(returncode):
            return Ending.CUT_OFF, killed
        if self._failure or _ALIVE not in self._console:
            return Ending.NO_BOOT, self._failure or self._qemu_said(returncode)
        if self._ended_itself and returncode:
            return Ending.CUT_OFF, f"QEMU ended with status {returncode} under a running guest"
        if self._time_left() > 0:
            return Ending.PANICKED, "the guest was reset without a word on its console"
        if time.monotonic() > self._started + self._deadlines.whole:
            return Ending.CUT_OFF, f"the guest had run for {self._deadlines.whole:g} s, its limit"
        if self._unusable:
            return Ending.HUNG, "the guest was unusable and did not end itself"
        if self._stalled:
            return (
                Ending.CUT_OFF,
                "no processor of the guest had a timer left: the emulator's fault",
            )
        stage = "after it booted" if self._booted else "while it booted"
        return Ending.HUNG, f"the guest said nothing more {stage}, until the deadline"

    def _killed(self, returncode: int) -> str:
        """That somebody has ended QEMU, which speaks of neither kernel nor QEMU; empty if not."""
        said = (self._out / "qemu.log").read_text(errors="replace")
        if self._ended_itself and (returncode == -signal.SIGKILL or _TERMINATED in said):
            who = said.strip().splitlines()[-1] if _TERMINATED in said else "by SIGKILL"
            return f"QEMU was killed: {who}"
        return ""

    def _qemu_said(self, returncode: int) -> str:
        if self._ended_itself:
            words = (self._out / "qemu.log").read_text(errors="replace").strip().splitlines()
            own = [line for line in words if line.startswith("qemu-system")] or words[-1:]
            why = own[-1] if own else "it said nothing: is the image a kernel?"
            return f"QEMU ended with status {returncode} before a kernel spoke: {why}"
        return (
            "no kernel spoke on the console before the deadline: it needs"
            " CONFIG_SERIAL_8250_CONSOLE=y, and to be for this kind of processor"
        )


__all__ = ["Deadlines", "Ending", "Event", "Guest", "GuestRun", "run"]
