"""This file checks the record of a run: nothing is lost, nothing half-written is believed."""

from vfio_hw.report.events import EventLog, Result, result_of


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


def test_an_event_without_text_is_a_result_all_the_same():
    result = result_of({"event": "finished", "test": "a", "verdict": "passed", "seconds": 1})
    assert result == Result("a", "passed", 1.0)
