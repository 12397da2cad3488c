"""This file checks what the file of a race that failed says, and that it is run again."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vfio_hw.cli import main
from vfio_hw.errors import HarnessError
from vfio_hw.race.actor import Actor
from vfio_hw.race.again import About, Recorded
from vfio_hw.race.program import sleep_ns

Save = Callable[[object], Path]


def test_a_failure_says_what_ran_and_what_came_of_it(content: dict[str, Any]) -> None:
    assert content["complaint"] == "outcome (ok, EAGAIN) is not legal"
    assert content["outcome"] == ["ok", "EAGAIN"]
    assert content["kernel"] == os.uname().release
    assert content["shifts_ns"][0] == 0
    assert [slot["name"] for slot in content["slots"]] == ["read end", "write end"]
    (pipe,) = content["prologue"]
    assert (pipe["call"], pipe["arguments"][1]) == ("pipe2", os.O_NONBLOCK)
    assert pipe["arguments"][0]["memory"] == {"bytes": "00" * 8, "loads": {"0": 0, "4": 1}}
    assert (content["nth"], content["deadline"]) == (None, 5.0)
    assert content["actors"][1]["program"][0]["arguments"][0] == {"slot": 0}
    assert any("read read end: EAGAIN" in line for line in content["calls"])
    assert json.loads(json.dumps(content)) == content


def test_a_failure_is_run_again_about_its_offsets(content: dict[str, Any], saved: Save) -> None:
    recorded = Recorded.read(saved({**content, "window_ns": 1_500_000}))
    offsets = recorded.offsets_ns
    assert offsets is not None
    chooser = About(offsets, 1, recorded.most_widths)
    # Where the scene puts them by now does not matter, as it is measured anew each time.
    writer, reader = (Actor(name, [sleep_ns(1, decisive=True)]) for name in ("one", "other"))
    late = [replace(writer, offset_ns=70), replace(reader, offset_ns=-3_000_000)]
    rounds = [chooser.choose(late) for _ in range(120)]
    assert {first + 70 for first, _ in rounds} == {offsets[0]}
    away = [abs(second - 3_000_000 - offsets[1]) for _, second in rounds]
    # Cycles from near to far, of four widths at first; up to the window in the end.
    cycles = []
    for most in (4, 5, 6, *[7] * 15):
        cycles.append(away[:most])
        del away[:most]
    assert not away
    for cycle in cycles:
        assert all(each <= 20_000 << place for place, each in enumerate(cycle))
    assert max(cycles[-1 - turn][-1] for turn in range(15)) > 640_000
    assert len({each for cycle in cycles for each in cycle}) > 100
    with pytest.raises(HarnessError, match="is of 2 actors and the test has 1"):
        chooser.choose(late[:1])


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda content: "no JSON", "is no failure file"),
        (lambda content: [1, 2], "is no failure file: name a race-N.json"),
        (lambda content: {**content, "vfio_hw_race": 99}, "is of version 99|file of version 99"),
        (lambda content: {**content, "actors": 5, "seed": "x"}, "is damaged: seed, actors of it"),
        (lambda content: {**content, "test": "--pdb tests_hw/x.py::y"}, "is damaged: test of it"),
        (lambda content: {**content, "actors": [1, 2]}, "is damaged: shifts_ns of it"),
        (lambda content: {k: v for k, v in content.items() if k != "nth"}, "is damaged: nth of it"),
    ],
)
@pytest.mark.parametrize("command", ["replay", "repro"])
def test_what_is_no_failure_file_is_refused_with_a_sentence(
    content: dict[str, Any],
    saved: Save,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[dict[str, Any]], object],
    complaint: str,
    command: str,
) -> None:
    path = saved(spoil(content))
    assert main([command, str(path)]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(complaint, line)


def test_a_file_that_is_not_there_or_not_json_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    assert main(["repro", str(broken)]) == 3
    assert main(["repro", str(tmp_path / "missing.json")]) == 3
    one, other = capsys.readouterr().err.splitlines()
    assert "broken.json is no failure file: it is not JSON" in one
    assert "missing.json can not be read (No such file or directory)" in other
