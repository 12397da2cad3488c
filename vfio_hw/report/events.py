"""The record of a run: one JSON object a line, only ever appended to.

Every other output is made from this file.  The objects, by their ``event``:

=============  ================================================================================
asked          kernels, guest, options: what the command line said
run            kernel, accelerator, machine, seed, arguments
resumed        the run goes on, after its harness or its machine had died
plan           tests: all of them, when several guests share them
guest          a guest was started: number
booted         its first process runs
session        in that guest: tests that will run and their promises, release of its kernel
started        test
race           test, and all it takes to run a race again: the test begins one
racing         pair, seconds, rounds, edges, outcomes: how a race goes that is not over
finished       test, verdict, seconds, text, oracle, properties, findings, judged, phases
again          test, text: why it is run once more, in the next guest
unusable       text: the guest is not to be trusted with another test
guest_ended    number, ending, seconds, text
stopped        text: why tests are left over
=============  ================================================================================

What a guest has said has its number too, as ``guest``.

A verdict is ``passed``, ``failed`` (the kernel is wrong), ``known`` (it is, in a way that has its
page in docs/finds), ``skipped`` or ``error`` (the harness or the machine is wrong).
"""

import contextlib
import errno
import fcntl
import json
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vfio_hw.errors import HarnessError

Event = dict[str, Any]
# Seconds.
_PATIENCE, _POLL = 10.0, 0.001
PORT = Path("/dev/ttyS1")
"""Where events leave a guest."""
WRITES = "in write to "
"""How the phases begin that are a part of others: what writes to an attribute of sysfs took."""
_DESCRIPTORS = Path("/proc/self/fd")
Aside = Callable[[Path, Event], None]
"""Takes what is not for the record: the directory of the guest that sent it, and the event."""


@dataclass(frozen=True)
class Result:
    """What became of one test."""

    test: str
    verdict: str
    seconds: float
    text: str = ""
    oracle: str = ""
    properties: dict[str, Any] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)  # what each oracle found, by its title
    judged: dict[str, list[str]] = field(default_factory=dict)
    """Of a test that passed: ``kinds`` of devices that it used, and the items of the uAPI that its
    calls had to do with, by how they went (vfio_hw.uapi.calls.OUTCOMES)."""
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds of ``setup``, ``call``, ``teardown``, and of the ``oracles`` before and after; and of
    writes within these, see :data:`WRITES`."""

    def as_event(self) -> Event:
        """The ``finished`` event that carries it."""
        return {"event": "finished", **asdict(self)}


def result_of(event: Event) -> Result:
    """The result that a ``finished`` event carries."""
    return Result(
        test=str(event["test"]),
        verdict=str(event["verdict"]),
        seconds=float(event["seconds"]),
        text=str(event.get("text", "")),
        oracle=str(event.get("oracle", "")),
        properties=dict(event.get("properties", {})),
        findings=list(event.get("findings", [])),
        judged=dict(event.get("judged", {})),
        phases=dict(event.get("phases", {})),
    )


def send(port: Path, event: Event) -> None:
    """Write an event to the port on which it leaves a guest; whole when this returns.

    :raises OSError: it can not be written, or another has the port for 10 s.
    """
    descriptor = _opened_alone(port)
    try:
        data = _short(event)
        while data:
            data = data[os.write(descriptor, data) :]
    finally:
        os.close(descriptor)


def _opened_alone(port: Path) -> int:
    # A virtio port has one who writes at a time: the others are told EBUSY.
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return opened(port, os.O_WRONLY | os.O_APPEND)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > end:
                raise
        time.sleep(_POLL)


def _short(event: Event) -> bytes:
    """A line of it: what is empty in a result says nothing, and each byte takes its time."""
    if event["event"] == "finished":
        event = {key: value for key, value in event.items() if value not in ("", [], {})}
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"


class EventLog:
    """``events.jsonl`` of one results directory.

    :param descriptor: of the file, where its name may lead to another one by now.
    """

    def __init__(self, path: Path, descriptor: int | None = None) -> None:
        self.path = path
        self._at = path if descriptor is None else by_descriptor(descriptor)
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """No other process that asks for it as well writes this record inside.

        :raises HarnessError: one does.
        """
        with open(self._at, "ab", opener=opened) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HarnessError(
                    f"another run is writing {self.path}: wait for its end, or name another"
                    " directory with --results"
                ) from None
            yield

    def write(self, event: Event) -> None:
        """Append one event with the time it came; on disk when this returns."""
        stamped = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **event}
        line = json.dumps(stamped, ensure_ascii=True).encode() + b"\n"
        try:
            with (
                self._lock,
                open(self._at, "a+b", buffering=0, opener=opened) as file,
            ):
                # A record that was cut short is ended first, or it would take this one with it.
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    line = line if file.read(1) == b"\n" else b"\n" + line
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fdatasync(file.fileno())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from None

    def read(self) -> Iterator[Event]:
        """Every whole event so far."""
        with open(self._at, encoding="utf-8", errors="replace", opener=readable) as file:
            for line in file:
                # A full disk or a lost machine can cut one short, wherever it stands then.
                with contextlib.suppress(json.JSONDecodeError):
                    yield json.loads(line)

    def results(self) -> list[Result]:
        """The results so far, in the order in which they came."""
        return [result_of(event) for event in self.read() if event["event"] == "finished"]


def by_descriptor(descriptor: int) -> Path:
    """The path of an open file, in every process that has it by this number."""
    return _DESCRIPTORS / str(descriptor)


def opened(path: str | Path, flags: int) -> int:
    """Open a record or a port: who can make links in its directory does not choose the file.

    :raises OSError: it is a symbolic link, a file that has another name too, or a FIFO, which
        could block for ever.
    """
    own = os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK
    # Links to descriptors are the kernel's.
    own |= 0 if Path(path).parent == _DESCRIPTORS else os.O_NOFOLLOW
    descriptor = os.open(path, flags | own, 0o644)
    if wrong := _wrong(os.fstat(descriptor)):
        os.close(descriptor)
        raise OSError(wrong, os.strerror(wrong), str(path))
    os.set_blocking(descriptor, True)
    return descriptor


def _wrong(status: os.stat_result) -> int:
    """The errno for what is no record and no port; 0 for what is one."""
    if stat.S_ISREG(status.st_mode):
        return errno.EMLINK if status.st_nlink > 1 else 0
    return 0 if stat.S_ISCHR(status.st_mode) else errno.ENXIO


def readable(path: str | Path, flags: int) -> int:
    """Open a record to read it, as an opener of :func:`open`; never one that blocks for ever.

    :raises HarnessError: it is a FIFO, say.
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise HarnessError(f"{path} is not a file: name the results directory of a run")


def left(path: Path) -> frozenset[str]:
    """The tests that a file of names in JSON holds."""
    return frozenset(json.loads(path.read_text()))
