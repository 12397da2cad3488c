"""This file checks the record of a run: nothing is lost, nothing half-written is believed."""

import os
from pathlib import Path

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.report.events import EventLog, Result, by_descriptor, result_of, send
from vfio_hw.report.place import Place


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


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR])
def test_a_fifo_in_the_place_of_a_record_holds_nobody_up(tmp_path, flags):
    """Neither without anybody at its other end nor with somebody."""
    log = EventLog(tmp_path / "events.jsonl")
    os.mkfifo(log.path)
    other = os.open(log.path, flags | os.O_NONBLOCK) if flags == os.O_RDWR else -1
    with pytest.raises(OSError, match=r"No such device.*events\.jsonl"):
        send(log.path, {"event": "started"})
    with pytest.raises(OSError, match=r"No such device.*events\.jsonl"):
        log.write({"event": "run"})
    with pytest.raises(HarnessError, match=r"events\.jsonl is not a file"):
        log.results()
    if other >= 0:
        os.close(other)


def test_a_record_that_is_open_is_the_same_whatever_its_name_leads_to(tmp_path):
    place = tmp_path / "results"
    place.mkdir()
    with Place.begun(place) as held:
        log = EventLog(place / "events.jsonl", held.made("events.jsonl"))
        port = by_descriptor(held.made("raw.jsonl"))
        place.rename(tmp_path / "old")
        place.mkdir()
        (place / "events.jsonl").write_text('{"event": "theirs"}\n')
        log.write({"event": "run"})
        send(port, {"event": "started"})
        assert [event["event"] for event in log.read()] == ["run"]
        held.write("race-1.json", "{}")
    assert (tmp_path / "old" / "raw.jsonl").read_text() == '{"event":"started"}\n'
    assert (tmp_path / "old" / "race-1.json").read_text() == "{}"
    assert [each.name for each in place.iterdir()] == ["events.jsonl"]


def test_what_is_written_into_a_directory_of_results_goes_through_no_link(tmp_path):
    victim, place = tmp_path / "victim", tmp_path / "results"
    victim.write_text("precious")
    place.mkdir()
    with Place.begun(place) as held:
        for number, link in enumerate((os.symlink, os.link, lambda _, at: os.mkfifo(at))):
            link(victim, place / f"race-{number}.json")
            held.write(f"race-{number}.json", "{}")
            assert (place / f"race-{number}.json").read_text() == "{}"
            link(victim, place / f"raw-{number}.jsonl")
            with pytest.raises(FileExistsError):
                held.made(f"raw-{number}.jsonl")
    assert victim.read_text() == "precious"


def test_a_directory_of_results_that_another_was_put_in_the_place_of_is_not_begun(tmp_path):
    full, others, link = (tmp_path / name for name in ("full", "others", "link"))
    full.mkdir()
    (full / "events.jsonl").touch()
    others.mkdir()
    others.chmod(0o777)
    (tmp_path / "real").mkdir()
    link.symlink_to(tmp_path / "real")
    for path in (full, others, link):
        with pytest.raises(HarnessError, match=f"somebody else has changed {path}"):
            Place.begun(path)


def test_an_event_without_text_is_a_result_all_the_same():
    result = result_of({"event": "finished", "test": "a", "verdict": "passed", "seconds": 1})
    assert result == Result("a", "passed", 1.0)
