"""The machine around this one: what QEMU is asked from inside one of its guests.

The harness outside carries the requests to QEMU's monitor; vfio_hw/vm/requests.py says in which
form. Commands and events are those of the QEMU QMP Reference Manual.
"""

import contextlib
import json
import os
import select
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from vfio_hw.errors import HarnessError, Unsupported
from vfio_hw.host.modules import IN_GUEST
from vfio_hw.host.virtio_port import REQUESTS, node_of

Object = dict[str, Any]
_AT_ONCE = 1 << 16
_PATIENCE = 10.0


@dataclass(frozen=True)
class Answer:
    """What came back, and when: seconds on the clock of time.monotonic() here."""

    value: Any
    asked_at: float
    answered_at: float


@dataclass(frozen=True)
class Happened:
    """An event of QEMU's, and when this guest heard of it."""

    name: str
    data: Object
    heard_at: float


@dataclass
class Hypervisor:
    """An open line to the harness outside; what it says is kept until it is asked for.

    :param port: a descriptor of the character device, which this object does not close.
    """

    port: int
    _pending: bytes = b""
    # An answer that comes too late for one test must be none to the first request of the next.
    _number: int = field(default_factory=lambda: time.monotonic_ns() & 0xFFFFFFFF)
    _answers: dict[int, tuple[Object, float]] = field(default_factory=dict)
    _events: deque[Happened] = field(default_factory=deque)

    def ask(self, command: str, **arguments: Any) -> Answer:
        """Give QEMU a command.  In names of arguments ``_`` stands for ``-``.

        :raises HarnessError: QEMU refuses, or nothing comes back within 10 s.
        """
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        return self._answer({"execute": command, "arguments": named}, command, _PATIENCE)

    def pause(self, seconds: float) -> Answer:
        """Let all processors of this guest stand still for so long; the host's clock goes on."""
        return self._answer({"pause": seconds}, "stop and cont", seconds + _PATIENCE)

    def answered(self, number: int, *, within: float) -> bool:
        """Whether a request of that number, which somebody else wrote here, has its answer.

        :raises HarnessError: QEMU refused it.
        """
        end = time.monotonic() + within
        while number not in self._answers:
            if not self._listen(end):
                return False
        self._result(number, f"request {number}")
        return True

    def reset(self) -> NoReturn:
        """Press the button of this machine: the test ends here, and nothing is given back.

        It has passed, and those that follow run in a fresh guest, unless the kernel had shown a
        fault on its console; the other oracles are not asked.

        :raises HarnessError: the machine goes on, 10 s later.
        """
        self.ask("system_reset")
        end = time.monotonic() + _PATIENCE
        while self._listen(end):
            pass
        raise HarnessError(f"this guest was to be reset, and goes on {_PATIENCE:g} s later")

    def monitor(self, line: str) -> str:
        """What QEMU's monitor for people says to a line that vfio_hw/vm/requests.py takes."""
        return str(self.ask("human-monitor-command", command_line=line).value)

    def wait_for(self, event: str, *, deadline: float, **data: Any) -> Happened:
        """The first event of that name, and with those data, that nobody has been given yet.

        :param deadline: seconds.
        :raises HarnessError: it does not happen in time; says what did.
        """
        end = time.monotonic() + deadline
        while True:
            for happened in self._events:
                if happened.name == event and data.items() <= happened.data.items():
                    self._events.remove(happened)
                    return happened
            if not self._listen(end):
                others = ", ".join(sorted({each.name for each in self._events})) or "nothing"
                raise HarnessError(
                    f"QEMU did not tell of {event} {data or ''} within {deadline:g} s, but of"
                    f" {others}"
                )

    def happened(self, event: str, *, within: float = 0.0, **data: Any) -> bool:
        """Whether it has, or does within so many seconds; it stays to be waited for."""
        try:
            found = self.wait_for(event, deadline=within, **data)
        except HarnessError:
            return False
        self._events.appendleft(found)
        return True

    def _answer(self, request: Object, what: str, deadline: float) -> Answer:
        self._number += 1
        number = self._number
        asked_at = time.monotonic()
        os.write(self.port, json.dumps({"id": number, **request}).encode() + b"\n")
        while number not in self._answers:
            if not self._listen(asked_at + deadline):
                raise HarnessError(
                    f"{what} was asked of QEMU, and nothing came back within {deadline:g} s: is"
                    " this guest one of vfio-hw's?"
                )
        value, answered_at = self._result(number, what)
        return Answer(value, asked_at, answered_at)

    def _result(self, number: int, what: str) -> tuple[Any, float]:
        said, answered_at = self._answers.pop(number)
        if "error" in said:
            raise HarnessError(f"QEMU refused {what}: {said['error'].get('desc', said['error'])}")
        return said.get("return"), answered_at

    def _listen(self, end: float) -> bool:
        """Take what has been said; False when there was nothing until ``end``."""
        if not select.select([self.port], [], [], max(0.0, end - time.monotonic()))[0]:
            return False
        *lines, self._pending = (self._pending + os.read(self.port, _AT_ONCE)).split(b"\n")
        now = time.monotonic()
        for said in map(json.loads, filter(bytes.strip, lines)):
            if "event" in said:
                self._events.append(Happened(said["event"], said.get("data", {}), now))
            else:
                self._answers[said["id"]] = (said, now)
        return True


@contextlib.contextmanager
def reached() -> Iterator[Hypervisor]:
    """The line to the harness outside, for one test at a time.

    :raises Unsupported: this is no guest of the harness's, its kernel has no virtio console, or
        this user is not root.
    """
    node = node_of(REQUESTS)
    if node is None:
        raise Unsupported(
            "no port to the machine around this one: it is no guest of vfio-hw's",
            option="CONFIG_VIRTIO_CONSOLE" if os.environ.get(IN_GUEST) else None,
        )
    try:
        descriptor = os.open(node, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except PermissionError:
        raise Unsupported(f"{node} is not for user {os.geteuid()}: run it as root") from None
    # What nobody was there to read any more is not for this test.
    with contextlib.suppress(BlockingIOError):
        while os.read(descriptor, _AT_ONCE):
            pass
    try:
        yield Hypervisor(descriptor)
    finally:
        os.close(descriptor)
