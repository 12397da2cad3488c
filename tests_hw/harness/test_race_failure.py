"""This file checks that races that failed in a guest fail again, by their tests and as programs."""

import dataclasses
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from vfio_hw.oracle.splats import splats
from vfio_hw.race.again import Recorded
from vfio_hw.report.events import EventLog, Result
from vfio_hw.report.race_files import write_failures
from vfio_hw.vm.machine import Deadlines
from vfio_hw.vm.supervisor import Supervisor

PLANTED = Path(__file__).parent / "planted" / "races.py"
PROJECT = Path(__file__).parents[2]
# What is not legal, by the operation that failed; a second user's outcome is left out.
ILLEGAL = {
    "a_legal_outcome": "ENODEV / ok+ok",
    "mapped": "skipped / ok",
    "found_again": "ENODEV / ok+ok",
    "loaded_again": "ENODEV / ok",
}


@pytest.fixture
def raced(guest, python, tmp_path) -> Callable[..., tuple[list[Result], EventLog]]:
    """Runs the planted races in a guest, from where they are taken for tests of hardware."""
    place = tmp_path / "tests_hw"
    place.mkdir()
    planted = place / "test_planted.py"
    planted.write_text(PLANTED.read_text())
    plugins = ["-p", "vfio_hw.plugin", "-p", "vfio_hw.fixtures", f"--rootdir={tmp_path}"]

    def run(*options: str) -> tuple[list[Result], EventLog]:
        argv = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--events=/dev/ttyS1"]
        argv += plugins
        out = tmp_path / f"raced-{len(options)}"
        log = EventLog(out / "events.jsonl")
        out.mkdir()
        Supervisor(
            dataclasses.replace(guest([*argv, *options, str(planted)]), cwd=PROJECT),
            out,
            log,
            deadlines=Deadlines(silence=180.0, whole=600.0),
            judge=lambda result: result,
            splats=splats,
            on_result=lambda result: None,
            on_output=lambda data: None,
            most_lost=1,
        ).run()
        return log.results(), log

    return run


def test_a_failed_race_fails_again_by_its_test_and_as_a_c_program(raced, ran, tmp_path):
    results, log = raced("--race-budget=30")
    files = {}
    for test, file in write_failures(log, tmp_path).items():
        (what,) = (each for each in ILLEGAL if each in test)
        files[what] = file
    assert set(files) == set(ILLEGAL), "\n".join(result.text for result in results)
    for what, file in files.items():
        content = json.loads(file.read_text())
        assert " / ".join(content["outcome"][:2]) == ILLEGAL[what]
        assert len(content["shifts_ns"]) == len(content["outcome"])

    # One of them by its test, about its offsets, and in no more rounds than it may take.
    recorded = Recorded.read(files["found_again"])
    (again,), _ = raced("--race-budget=90", f"--race-replay={recorded.path}", "-kfound_again")
    assert again.verdict == "failed"
    assert "outcome (ENODEV, ok+ok) is not legal" in again.text
    assert again.properties["race"]["rounds"] <= recorded.most_rounds

    programs = [reproducer(file) for file in files.values()]
    # Each says that it is reproduced, within twice the rounds, and leaves the device as it was. The
    # function that goes comes back in each round, and memory is mapped: all that is legal happens.
    script = "; ".join(f"{program} > /dev/console || exit 9" for program in programs)
    script += f"; {reproducer(tamed(recorded))} 20 > /dev/console; [ $? = 1 ] || exit 8"
    edu = "/sys/bus/pci/devices/0000:00:04.0"
    shown = f"cd {edu}; readlink driver; cat driver_override"
    before, after = (f"({shown}) > /tmp/{when}" for when in ("before", "after"))
    ended = ran(f"{before}; {script}; {after}; cmp /tmp/before /tmp/after", whole=300.0)
    said = ended.console.read_text(errors="replace")
    assert ended.status == 0, said[-2000:]
    for outcome in ILLEGAL.values():
        assert re.search(f"outcome {re.escape(outcome)}(?: / [+\\w]+)? is not legal", said)
    assert said.count("reproduced in round") == len(programs)
    assert "not reproduced in 20 rounds" in said


def tamed(recorded: Recorded) -> Path:
    """The file of a race in which what was not legal is."""
    content = recorded.content
    legal = [*content["legal"], content["outcome"]]
    path = recorded.path.with_name("tame.json")
    path.write_text(json.dumps({**content, "legal": legal, "outcome": None}))
    return path


def reproducer(file: Path) -> Path:
    """The program of a failure, compiled where the guest sees it."""
    source, program = file.with_suffix(".c"), file.with_suffix("")
    command = [PROJECT / ".venv/bin/vfio-hw", "repro", file, "-o", source]
    subprocess.run(command, check=True, timeout=60)
    line = ["cc", "-O2", "-Wall", "-Werror", "-pthread", "-o", program, source]
    subprocess.run(line, check=True, timeout=60)
    return program
