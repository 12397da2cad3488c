"""This file checks that a race that failed in a guest fails again, by its test and as a program."""

import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from vfio_hw.oracle.splats import splats
from vfio_hw.report.events import EventLog, Result
from vfio_hw.report.race_files import write_failures
from vfio_hw.vm.machine import Deadlines
from vfio_hw.vm.supervisor import Supervisor

PLANTED = Path(__file__).parent / "planted" / "races.py"
PROJECT = Path(__file__).parents[2]


@pytest.fixture
def raced(guest, python, tmp_path) -> Callable[..., tuple[Result, EventLog]]:
    """Runs the planted race in a guest, from where it is taken for a test of hardware."""
    place = tmp_path / "planted"
    place.mkdir()
    planted = place / "test_planted.py"
    planted.write_text(PLANTED.read_text())
    plugins = ["-p", "vfio_hw.plugin", "-p", "vfio_hw.fixtures", f"--rootdir={place}"]

    def run(*options: str) -> tuple[Result, EventLog]:
        argv = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--events=/dev/ttyS1"]
        argv += plugins
        out = tmp_path / f"raced-{len(options)}"
        log = EventLog(out / "events.jsonl")
        out.mkdir()
        Supervisor(
            dataclasses.replace(guest([*argv, *options, str(planted)]), cwd=PROJECT),
            out,
            log,
            deadlines=Deadlines(silence=120.0, whole=300.0),
            judge=lambda result: result,
            splats=splats,
            on_result=lambda result: None,
            on_output=lambda data: None,
            most_lost=1,
        ).run()
        (result,) = log.results()
        return result, log

    return run


def test_a_failed_race_fails_again_by_its_test_and_as_a_c_program(raced, ran, tmp_path):
    result, log = raced("--race-budget=30")
    assert result.verdict == "failed"
    assert "outcome (ENODEV, ok+ok) is not legal" in result.text
    (file,) = write_failures(log, tmp_path).values()
    content = json.loads(file.read_text())
    assert content["device"]["type"] == "mtty-1"
    assert len(content["shifts_ns"]) == 2

    again, _ = raced("--race-budget=30", f"--race-replay={file}")
    assert again.verdict == "failed"
    assert "outcome (ENODEV, ok+ok) is not legal" in again.text

    source, program = tmp_path / "race.c", tmp_path / "race"
    command = [PROJECT / ".venv/bin/vfio-hw", "repro", file, "-o", source]
    subprocess.run(command, check=True, timeout=60)
    line = ["cc", "-O2", "-Wall", "-Werror", "-pthread", "-o", program, source]
    subprocess.run(line, check=True, timeout=60)
    ended = ran(f"{program} > /dev/console")
    said = ended.console.read_text(errors="replace")
    assert "outcome ENODEV / ok+ok is not legal" in said
    assert "reproduced in round" in said
    assert ended.status == 0
