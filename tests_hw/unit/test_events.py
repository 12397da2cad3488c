"""This file checks the record of a run: nothing is lost, nothing half-written is believed."""

import os
from pathlib import Path

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.report.events import EventLog, Result, result_of, send


def test_a_result_survives_the_record(tmp_path):
    result = Result("t.py::test_x", "failed", 1.5, "text\nmore", "leaks", {"rounds": 3})
    log = EventLog(tmp_path / "events.jsonl")
    log.write({"event": "run"})
    log.write(result.as_event())
    assert log.results() == [result]
    assert [event["event"] for event in log.read()] == ["run", "finished"]
    assert all("time" in event for event in log.read())


def test_a_line_that_was_cut_short_is_not_read(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    log.write(Result("a", "passed", 0.1).as_event())
    with log.path.open("a") as file:
        file.write('{"event": "finished", "test": "b", "verd')
    assert [result.test for result in log.results()] == ["a"]


def test_what_follows_a_line_that_was_cut_short_is_whole(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    log.path.write_bytes(b'{"event": "finished", "test": "b", "verd\0\0')
    log.write(Result("a", "passed", 0.1).as_event())
    assert [result.test for result in log.results()] == ["a"]


def test_a_record_is_written_by_one_run_at_a_time(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    other = EventLog(log.path)
    with log.held(), pytest.raises(HarnessError, match="another run is writing"), other.held():
        pass
    with log.held():
        pass


def test_a_full_disk_is_told_with_the_record_that_is_on_it():
    with pytest.raises(OSError, match=r"No space left.*/dev/full"):
        EventLog(Path("/dev/full")).write({"event": "run"})


@pytest.mark.parametrize("link, why", [(os.symlink, "symbolic links"), (os.link, "Too many links")])
def test_a_link_in_the_place_of_a_record_is_not_written_to(tmp_path, link, why):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    log = EventLog(tmp_path / "events.jsonl")
    link(precious, log.path)
    with pytest.raises(OSError, match=rf"{why}.*events\.jsonl"):
        log.write({"event": "run"})
    with pytest.raises(OSError, match=rf"{why}.*events\.jsonl"):
        send(log.path, {"event": "started"})
    with pytest.raises(OSError, match=why), log.held():
        pass
    assert precious.read_text() == "precious"


def test_an_event_without_text_is_a_result_all_the_same():
    result = result_of({"event": "finished", "test": "a", "verdict": "passed", "seconds": 1})
    assert result == Result("a", "passed", 1.0)
