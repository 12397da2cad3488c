"""What a guest asks of the machine that it is in, and hears of it: an object a line, both ways.

A request is a command of QEMU's monitor and its arguments, ``{"id": 1, "execute": "device_del",
"arguments": {"id": "port"}}``, or ``{"id": 1, "pause": 2.5}``: the processors stand still for so
many seconds, which a guest could not end itself. An answer has the request's ``id``, and ``return``
or ``error``. After a guest's first request, the monitor's events are passed on as they come.

QEMU's monitor can also start programs and write files here, and what asks may be a kernel that is
broken: it gets the commands that tests have a use for, and no other.
"""

import contextlib
import json
import math
import socket
import time
from collections.abc import Callable
from typing import Any

from vfio_hw.vm.qmp import Qmp

_AT_ONCE = 1 << 16

Object = dict[str, Any]

_COMMANDS = frozenset({"device_add", "device_del", "inject-nmi", "qom-list", "system_reset"})
# Those of the monitor for people, by their first words.
_FOR_PEOPLE = "human-monitor-command"
_LINES = frozenset({"pcie_aer_inject_error"})


class Requests:
    """Answers the guest's requests, at the port that QEMU has for them.

    :param port: where requests are read and answers written; does not block.
    :param tell: gets every request, for the record.
    """

    def __init__(self, port: socket.socket, monitor: Qmp, tell: Callable[[Object], None]) -> None:
        self._port, self._monitor, self._tell = port, monitor, tell
        self._pending = b""
        self._asked = False
        self._due: list[tuple[float, Callable[[], None]]] = []

    def fileno(self) -> int:
        """What is readable when the guest has asked for something."""
        return self._port.fileno()

    def take(self) -> bool:
        """Take what the guest has asked by now; False when its port was closed for good."""
        try:
            data = self._port.recv(_AT_ONCE)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            try:
                request = json.loads(line)
                number = int(request["id"])
            except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
                self._say({"id": 0, "error": {"desc": f"no request: {line!r}"}})
                continue
            self._asked = True
            self._tell({"event": "request", "request": request})
            if wrong := _refusal(request):
                self._say({"id": number, "error": {"desc": wrong}})
            else:
                self._begin(number, request)
        return bool(data)

    def pass_on(self, events: list[Object]) -> None:
        """Let a guest that has asked for something hear of events."""
        for event in events if self._asked else ():
            self._say(event)

    def time_left(self) -> float:
        """Seconds until :meth:`go_on` is due."""
        return min((when for when, _ in self._due), default=math.inf) - time.monotonic()

    def go_on(self) -> None:
        """Do what is due by now."""
        now = time.monotonic()
        due = [action for when, action in self._due if when <= now]
        self._due = [(when, action) for when, action in self._due if when > now]
        for action in due:
            action()

    def _begin(self, number: int, request: Object) -> None:
        def answer(said: Object) -> None:
            said = {key: said[key] for key in ("return", "error") if key in said}
            self._say({"id": number, **said})

        if "pause" in request:
            seconds = float(request["pause"])

            def stopped(said: Object) -> None:
                def end() -> None:
                    self._monitor.ask("cont", {}, answer)

                self._due.append((time.monotonic() + seconds, end))

            self._monitor.ask("stop", {}, stopped)
            return
        self._monitor.ask(request["execute"], request.get("arguments", {}), answer)

    def _say(self, words: Object) -> None:
        # A guest that does not read what it asked for gets no more of it.
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionError):
            self._port.sendall(json.dumps(words).encode() + b"\n")


def _refusal(request: Object) -> str:
    """Why a request is not carried out; nothing when it is."""
    if "pause" in request:
        seconds = request["pause"]
        if type(seconds) in (int, float) and 0 <= seconds < math.inf:
            return ""
        return f"a pause is a number of seconds, not {seconds!r}"
    command, arguments = request.get("execute"), request.get("arguments", {})
    if not isinstance(command, str) or not isinstance(arguments, dict):
        return f"no command with its arguments: {request!r}"
    if command == _FOR_PEOPLE:
        line = arguments.get("command-line")
        command = (str(line).split() or [""])[0]
        allowed = arguments.keys() == {"command-line"} and isinstance(line, str)
        allowed = allowed and command in _LINES
    else:
        allowed = command in _COMMANDS
    return "" if allowed else f"{command!r} is not among what a guest may ask of QEMU"
