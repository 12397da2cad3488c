"""One guest from power-on to its end, and which end that was."""

import contextlib
import enum
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from vfio_hw.vm.power import PORT_SIZE, Guest, power_on

_ALIVE = b"Linux version"
_PANIC = b"Kernel panic - not syncing"
# What QEMU says when it is asked to end, and then ends as if its guest had powered off.
_TERMINATED = "terminating on signal"
_CONSOLE, _EVENTS, _OUTPUT = range(3)
# A panic prints its trace after the sentence that we recognise it by.
_LAST_WORDS = 3.0

Event = dict[str, Any]


class Ending(enum.Enum):
    """How a guest ended, and so whom its end speaks of."""

    EXITED = "exited"  # the command ran to its end; its status is known
    PANICKED = "panicked"  # the guest's kernel died: a verdict on the kernel
    HUNG = "hung"  # nothing more came before a deadline: on the kernel too
    NO_BOOT = "no boot"  # QEMU failed or no kernel spoke: a verdict on the machine
    CUT_OFF = "cut off"  # QEMU failed later, was killed, or ran for too long: on neither


@dataclass(frozen=True)
class GuestRun:
    """The end of one guest."""

    ending: Ending
    status: int | None
    seconds: float
    console: Path
    text: str  # one sentence on what happened


@dataclass(frozen=True)
class Deadlines:
    """Seconds that each stretch of a guest's life may take."""

    boot: float = 60.0  # until our first process runs, and from then until the first event
    silence: float | None = None  # between two events, from then on
    farewell: float = 10.0  # between two events, once the guest has said that it is unusable
    whole: float = 3600.0  # from power-on to the end


def run(
    guest: Guest,
    out: Path,
    *,
    deadlines: Deadlines | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    on_output: Callable[[bytes], None] = lambda data: None,
) -> GuestRun:
    """Boot ``guest``, run its command, and tell how it ended; never later than its deadlines.

    :param out: directory for ``console.log`` and ``qemu.log``; made when missing.
    :param on_event: gets every object that arrives on the event port.
    :raises HarnessError: when QEMU is not installed.
    """
    out.mkdir(parents=True, exist_ok=True)
    return _Life(guest, out, deadlines or Deadlines(), on_event, on_output).lived()


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
        self._console, self._pending = bytearray(), b""
        self._status: int | None = None
        self._booted = self._spoken = self._unusable = self._ended_itself = False
        self._failure = ""
        self._started = self._heard = time.monotonic()
        self._panicked_at: float | None = None

    def lived(self) -> GuestRun:
        """Power on, listen until an end, power off."""
        with (self._out / "console.log").open("ab") as console:
            process, ports = power_on(self._guest, self._out / "qemu.log")
            try:
                self._listen(process, ports, console)
            finally:
                process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=10.0)
                for port in ports:
                    os.close(port)
        ending, text = self._judged(process.returncode or 0)
        seconds = time.monotonic() - self._started
        return GuestRun(ending, self._status, seconds, self._out / "console.log", text)

    def _listen(
        self, process: subprocess.Popen[bytes], ports: list[int], console: BinaryIO
    ) -> None:
        with selectors.DefaultSelector() as selector:
            for number, port in enumerate(ports):
                selector.register(port, selectors.EVENT_READ, number)
            while selector.get_map():
                if self._status is not None or self._failure:
                    return
                left = self._time_left()
                ready = selector.select(min(max(left, 0.0), 1.0))
                # Late is only a guest that has nothing to say: it may be us who were not listening.
                if left <= 0 and not ready:
                    return
                for key, _ in ready:
                    data = os.read(key.fd, PORT_SIZE)
                    if not data:
                        selector.unregister(key.fileobj)
                    self._take(key.data, data, console)
        # QEMU has closed its ports, so it is about to end; its status tells why.
        self._ended_itself = True
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5.0)

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
            *lines, self._pending = (self._pending + data).split(b"\n")
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
        return "no kernel spoke on the console before the deadline"


__all__ = ["Deadlines", "Ending", "Event", "Guest", "GuestRun", "run"]
