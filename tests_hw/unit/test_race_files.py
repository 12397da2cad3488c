"""This file checks that failed races of a record become files, and what replay makes of one."""

import argparse
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vfio_hw import asked, cli, guest, replay, run
from vfio_hw.here.ending import Ending
from vfio_hw.here.run import _Run
from vfio_hw.report.events import EventLog, Result
from vfio_hw.report.place import Place
from vfio_hw.report.race_files import write_failures

PASSES = 8
TEST = "tests_hw/race/test_x.py::test_y[mtty]"
RACE = {
    "test": TEST,
    "vfio_hw_race": 2,
    "kernel": "7.3.4",
    "complaint": "",
    "device": None,
    "seed": 7,
    "rounds": 1,
    "seconds": 0.0,
    "window_ns": 1000,
    "deadline": 5.0,
    "nth": None,
    "widened": [],
    "guest": None,
    "shifts_ns": None,
    "legal": [["ok"]],
    "prologue": [],
    "actors": [],
    "epilogue": [],
    "slots": [],
    "pages": [],
}
GUEST = {
    "kernel": "latest-debug",
    "modules": None,
    "patch": ["/p/fix.patch"],
    "accel": "tcg",
    "machine": "amd-iommu",
    "cpus": 1,
    "memory": "3G",
}


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    log = EventLog(tmp_path / "events.jsonl")
    log.write({"event": "asked", "kernels": ["latest-debug"], "guest": GUEST, "options": {}})
    log.write({"event": "run", "kernel": "7.3.4", "machine": "intel-iommu", "image": "/k/bzImage"})
    log.write({"event": "race", **RACE, "guest": 1})
    return log


def files(log: EventLog, tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in write_failures(log, tmp_path).values()]


def test_a_race_that_failed_is_written_as_it_told(log: EventLog, tmp_path: Path) -> None:
    told = {**RACE, "complaint": "outcome (x) is not legal", "shifts_ns": [0, 5]}
    log.write(Result(TEST, "failed", 1.0, "text", "outcome", {"race": told}).as_event())
    (content,) = files(log, tmp_path)
    expected = {"guest": GUEST, "image": "/k/bzImage", "oracle": "outcome", "text": "text"}
    assert content == {**told, **expected}


def test_a_race_that_the_kernel_died_of_is_written_as_it_began(
    log: EventLog, tmp_path: Path
) -> None:
    for event in ({"rounds": 20, "guest": 2}, {"rounds": 30, "guest": 1}):
        log.write({"event": "racing", "pair": "a pair", **event})
    log.write(Result(TEST, "failed", 9.5, "Kernel panic\ntrace", "panic").as_event())
    (content,) = files(log, tmp_path)
    assert content["complaint"] == "Kernel panic"
    assert content["shifts_ns"] is None
    assert (content["seconds"], content["rounds"]) == (9.5, 30)
    assert content["guest"] == GUEST
    assert "event" not in content


def test_how_many_rounds_there_were_may_be_unknown(log: EventLog, tmp_path: Path) -> None:
    log.write(Result(TEST, "failed", 9.5, "Kernel panic", "panic").as_event())
    (content,) = files(log, tmp_path)
    assert content["rounds"] is None


def test_what_an_oracle_found_after_a_race_comes_with_its_edges(
    log: EventLog, tmp_path: Path
) -> None:
    edges = [{"actor": "remove", "position_ns": 5, "rounds": 9}]
    properties = {"edges": edges, "rounds": 40}
    found = ["kernel log: WARNING in x"]
    log.write(Result(TEST, "failed", 3.0, "t", "kernel log", properties, found).as_event())
    (content,) = files(log, tmp_path)
    assert content["complaint"] == "kernel log: WARNING in x"
    assert (content["edges"], content["rounds"]) == (edges, 40)


def test_a_race_that_failed_on_this_machine_is_a_file_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = _Run(argparse.Namespace(), Place.begun(tmp_path), Ending())
    told = {**RACE, "complaint": "outcome (x) is not legal"}
    here._log.write(Result(TEST, "failed", 1.0, "text", "outcome", {"race": told}).as_event())
    assert here._ended(1) == run.KERNEL_WRONG
    assert f"vfio-hw repro {tmp_path}/race-1.json" in capsys.readouterr().out
    assert json.loads((tmp_path / "race-1.json").read_text())["guest"] is None


def test_a_link_in_the_place_of_a_file_is_not_followed(log: EventLog, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "race-1.json").symlink_to(victim)
    log.write(Result(TEST, "failed", 1.0, "text", "outcome").as_event())
    assert [content["test"] for content in files(log, tmp_path)] == [TEST]
    assert victim.read_text() == "precious" and not (tmp_path / "race-1.json").is_symlink()


@pytest.mark.parametrize("verdict", ["passed", "known", "skipped", "error"])
def test_of_other_verdicts_there_is_no_file(log: EventLog, tmp_path: Path, verdict: str) -> None:
    log.write(Result(TEST, verdict, 1.0).as_event())
    log.write(Result("tests_hw/other.py::test_z", "failed", 1.0).as_event())
    assert files(log, tmp_path) == []


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[argparse.Namespace]:
    """The runs that a command asks for, on a kernel 7.3.4."""
    seen: list[argparse.Namespace] = []

    def run_one(args: argparse.Namespace, out: Path) -> int:
        asked.asked(args)
        seen.append(args)
        if args.seed == PASSES:
            properties = {"rounds": 80}
            log = EventLog(out / "events.jsonl")
            log.write(Result(TEST, "passed", 1.0, properties=properties).as_event())
        return int(args.seed != PASSES)

    kernel = SimpleNamespace(release="7.3.4")
    monkeypatch.setattr(run, "run", run_one)
    monkeypatch.setattr(replay, "results_directory", lambda _: tmp_path)
    monkeypatch.setattr(guest, "described", lambda *_: (None, kernel))
    return seen


def saved(path: Path, **changes: object) -> Path:
    path.write_text(json.dumps({**RACE, **changes}))
    return path


def test_a_replay_runs_the_test_about_the_offsets(
    tmp_path: Path, ran: list[argparse.Namespace], capsys: pytest.CaptureFixture[str]
) -> None:
    actors = [{"offset_ns": 100}, {"offset_ns": 0}]
    path = saved(tmp_path / "race-1.json", seconds=40.0, rounds=90, shifts_ns=[0, 3], actors=actors)
    assert cli.main(["replay", str(path)]) == 1
    (args,) = ran
    assert args.selection == [TEST]
    assert args.rest == [f"--race-replay={path}"]
    assert (args.seed, args.race_budget, args.kernel) == (7, 160.0, ["latest"])
    assert (args.machine, args.cpus, args.patch) == ("intel-iommu", 2, [])
    assert "about offsets [100, 3] ns, 180 rounds; it failed with" in capsys.readouterr().out


def test_a_replay_is_on_the_machine_of_the_failure_and_with_its_switches(
    tmp_path: Path, ran: list[argparse.Namespace]
) -> None:
    path = saved(tmp_path / "race-1.json", guest=GUEST, widened=["slow-memory", "hotplug"])
    assert cli.main(["replay", str(path)]) == 1
    assert cli.main(["replay", str(path), "--kernel", "latest", "--machine", "virtio-iommu"]) == 1
    as_it_was, otherwise = ran
    assert as_it_was.rest[1:] == ["--race-widen=slow-memory", "--race-widen=hotplug"]
    assert (as_it_was.kernel, as_it_was.patch) == (["latest-debug"], [Path("/p/fix.patch")])
    machine = (as_it_was.machine, as_it_was.accel, as_it_was.cpus, as_it_was.memory)
    assert machine == ("amd-iommu", "tcg", 1, "3G")
    # The patch is of the kernel that is not run.
    assert (otherwise.kernel, otherwise.patch) == (["latest"], [])
    assert (otherwise.machine, otherwise.cpus) == ("virtio-iommu", 1)


@pytest.mark.parametrize(
    "guest",
    [{**GUEST, "memory": "2G,slots=4"}, {**GUEST, "cpus": 0}, {**GUEST, "accel": "x"}, {"cpus": 1}],
)
def test_a_file_does_not_say_what_no_option_could(
    tmp_path: Path,
    ran: list[argparse.Namespace],
    capsys: pytest.CaptureFixture[str],
    guest: dict[str, Any],
) -> None:
    assert cli.main(["replay", str(saved(tmp_path / "race-1.json", guest=guest))]) == 3
    assert "race-1.json is damaged: guest of it can not be read" in capsys.readouterr().err
    assert ran == []


def test_a_replay_that_does_not_fail_says_what_it_tried(
    tmp_path: Path, ran: list[argparse.Namespace], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["replay", str(saved(tmp_path / "race-1.json", rounds=40, seed=PASSES))]) == 0
    assert "it did not fail again in 80 rounds (it took 40)" in capsys.readouterr().out
    assert ran


def test_a_failure_of_another_kernel_is_replayed_only_when_the_kernel_is_named(
    tmp_path: Path, ran: list[argparse.Namespace], capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path / "race-1.json", kernel="6.12.1")
    assert cli.main(["replay", str(path)]) == 3
    assert "is of kernel 6.12.1, and latest is 7.3.4: say with --kernel" in capsys.readouterr().err
    assert ran == []
    assert cli.main(["replay", str(path), "--kernel", "latest"]) == 1
    assert "is of kernel 6.12.1: whether 7.3.4 does the same" in capsys.readouterr().out
    assert len(ran) == 1
