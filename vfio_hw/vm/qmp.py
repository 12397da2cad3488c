"""The monitor of a running QEMU: asked and heard in its machine protocol, an object a line.

A client of our own, because it has to be one of several things that a single loop listens to; the
package qemu.qmp brings an asyncio loop of its own. Source: docs/interop/qmp-spec.txt of QEMU.
"""

import contextlib
import json
import select
import socket
import time
from collections.abc import Callable
from typing import Any

from vfio_hw.errors import MachineLost

Object = dict[str, Any]
_AT_ONCE = 1 << 16


class Qmp:
    """One connection. Commands are answered in the order in which they were given.

    :param connection: the other end is the monitor's; closed with this object.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._pending = b""
        self._number = 0
        self._waiting: dict[int, Callable[[Object], None]] = {}
        # Nothing else is taken before this.
        self.ask("qmp_capabilities", {}, lambda answer: None)

    def fileno(self) -> int:
        """What is readable when the monitor has said something."""
        return self._connection.fileno()

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def ask(self, command: str, arguments: Object, answered: Callable[[Object], None]) -> None:
        """Give a command; :meth:`heard` calls ``answered`` with what comes back.

        That is an object with ``return``, or with ``error``, whose ``desc`` says what is wrong.
        """
        self._number += 1
        self._waiting[self._number] = answered
        words = {"execute": command, "arguments": arguments, "id": self._number}
        with contextlib.suppress(OSError):  # of a QEMU that has gone: it never answers
            self._connection.sendall(json.dumps(words).encode() + b"\n")

    def heard(self) -> list[Object]:
        """Take what the monitor has said by now; returns the events in it.

        :raises EOFError: QEMU has gone.
        """
        try:
            data = self._connection.recv(_AT_ONCE)
        except ConnectionError:
            data = b""
        if not data:
            raise EOFError
        *lines, self._pending = (self._pending + data).split(b"\n")
        events = []
        for line in filter(bytes.strip, lines):
            said = json.loads(line)
            if "event" in said:
                events.append(said)
            elif answered := self._waiting.pop(said.get("id", 0), None):
                answered(said)
        return events

    def rest(self) -> list[Object]:
        """The events in what a monitor that has hung up, or is about to, had said by then."""
        events: list[Object] = []
        with contextlib.suppress(EOFError):
            while select.select([self], [], [], 0.0)[0]:
                events += self.heard()
        return events

    def answer(self, command: str, arguments: Object, *, deadline: float) -> Object:
        """What comes back; events that come before it are lost.

        :param deadline: seconds.
        :raises MachineLost: nothing comes back, or QEMU refuses.
        """
        answers: list[Object] = []
        self.ask(command, arguments, answers.append)
        end = time.monotonic() + deadline
        while not answers:
            ready = select.select([self], [], [], max(0.0, end - time.monotonic()))[0]
            if not ready:
                raise MachineLost(f"{command}: QEMU did not answer within {deadline:g} s")
            try:
                self.heard()
            except EOFError:
                raise MachineLost(f"{command}: QEMU ended before it answered") from None
        if "error" in answers[0]:
            raise MachineLost(f"{command}: QEMU refused: {answers[0]['error']['desc']}")
        return answers[0]
