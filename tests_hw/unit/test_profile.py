"""This file checks the account of a run's time: each second is in one stage."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vfio_hw.report import profile
from vfio_hw.report.events import WRITES, Result

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PHASES = {"setup": 1.0, "call": 2.0, "teardown": 0.5, "oracles": 0.25}
WRITTEN = {f"{WRITES}create": 0.5, f"{WRITES}remove": 1.5}
KINDS = "of that in tests of each kind of device, in how many:"
SLOW = Result("t.py::slow", "passed", 4.0, phases={**PHASES, **WRITTEN})


def events(*timed: tuple[float, dict]) -> list[dict]:
    return [{"time": (START + timedelta(seconds=at)).isoformat(), **event} for at, event in timed]


WHOLE = events(
    (0, {"event": "asked"}),
    (10, {"event": "run"}),
    (10, {"event": "guest", "number": 1}),
    (13, {"event": "booted", "guest": 1}),
    (20, {"event": "session", "guest": 1, "tests": ["t.py::slow"]}),
    (21, {"event": "started", "guest": 1, "test": "t.py::slow"}),
    (25, {**SLOW.as_event(), "guest": 1}),
    (27, {"event": "guest_ended", "number": 1}),
)


def seconds(lines: list[str], name: str) -> float:
    (line,) = [line for line in lines if line.endswith(name)]
    return float(line.split()[0])


def test_every_second_is_told_once():
    lines = profile.lines(WHOLE)
    assert "27.0 s in all" in lines[0]
    for name, took in (
        ("tests compiled", 10.0),
        ("booting", 3.0),
        ("collecting the tests", 7.0),
        ("between two tests", 1.0),
        ("tests: setup", 1.0),
        ("tests: call", 2.0),
        ("tests: the rest of pytest", 0.2),
        ("guests: ending", 2.0),
        ("in write to remove", 1.5),
        ("in write to create", 0.5),
    ):
        assert seconds(lines, name) == pytest.approx(took, abs=0.06)
    assert lines[-1].split() == ["1.00", "2.00", "0.50", "0.25", "t.py::slow"]


def test_guests_that_overlap_are_told_apart():
    other = events(
        (10, {"event": "guest", "number": 2}),
        (16, {"event": "booted", "guest": 2}),
        (18, {"event": "guest_ended", "number": 2}),
    )
    both = sorted([*WHOLE, *other], key=lambda event: event["time"])
    lines = profile.lines(both)
    assert seconds(lines, "booting") == pytest.approx(9.0)
    assert seconds(lines, "ending") == pytest.approx(4.0)


def test_each_kind_of_device_is_told():
    at, added = 25, []
    for kinds in (["edu"], ["edu"], ["edu", "mtty"]):
        at += 2
        result = Result(f"t.py::{at}", "passed", 2.5, properties={"kinds": kinds})
        added += events((at, {**result.as_event(), "guest": 1}))
    lines = profile.lines(WHOLE[:-1] + added)
    assert [line.split("  ")[-1] for line in lines[lines.index(KINDS) + 1 :][:3]] == [
        "edu, 2",
        "none, 1",
        "several, 1",
    ]
    assert (seconds(lines, "edu, 2"), seconds(lines, "none, 1")) == (5.0, 4.0)


def test_a_record_without_guests_is_told():
    assert profile.lines([]) == ["where the time went: nothing has been run"]


def test_older_records_and_torn_ones_do_not_break_it(tmp_path: Path):
    old = json.loads(json.dumps(WHOLE))
    for event in old:
        event.pop("guest", None)
        event.pop("phases", None)
    assert profile.lines(old[:-1])
