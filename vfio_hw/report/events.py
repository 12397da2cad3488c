"""The record of a run: one JSON object a line, only ever appended to.

Every other output is made from this file.  The objects, by their ``event``:

=============  ================================================================================
run            kernel, accelerator, machine, seed, arguments
guest          a guest was started: number
session        in that guest: tests that will run, release of its kernel
started        test
finished       test, verdict, seconds, text, oracle, properties, findings, judged
unusable       text: the guest is not to be trusted with another test
guest_ended    number, ending, seconds, text
stopped        text: why tests are left over
=============  ================================================================================

A verdict is ``passed``, ``failed`` (the kernel is wrong), ``known`` (it is, in a way that has its
page in docs/finds), ``skipped`` or ``error`` (the harness or the machine is wrong).
"""

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Event = dict[str, Any]


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
    )


class EventLog:
    """``events.jsonl`` of one results directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, event: Event) -> None:
        """Append one event with the time it came; on disk when this returns."""
        stamped = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **event}
        line = json.dumps(stamped, ensure_ascii=True) + "\n"
        # One write each: a record that was cut short can only be the last line.
        descriptor = os.open(
            self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644
        )
        try:
            if os.write(descriptor, line.encode()) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        finally:
            os.close(descriptor)

    def read(self) -> Iterator[Event]:
        """Every whole event so far."""
        with self.path.open(encoding="utf-8") as file:
            for line in file:
                # A full disk or a lost machine can cut one short, wherever it stands then.
                with contextlib.suppress(json.JSONDecodeError):
                    yield json.loads(line)

    def results(self) -> list[Result]:
        """The results so far, in the order in which they came."""
        return [result_of(event) for event in self.read() if event["event"] == "finished"]


def left(path: Path) -> frozenset[str]:
    """The tests that a file of names in JSON holds."""
    return frozenset(json.loads(path.read_text()))
