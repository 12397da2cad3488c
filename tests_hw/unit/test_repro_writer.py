"""This file checks what of a failure is written into its C program, and what is refused."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vfio_hw import cli
from vfio_hw.errors import HarnessError
from vfio_hw.race.again import Recorded
from vfio_hw.repro.writer import written

Content = dict[str, Any]
Save = Callable[[object], Path]
PCI = {"bus": "pci", "kind": "edu", "name": "0000:00:03.0", "driver": "vfio-pci"}
# Comments, strings and characters of C, whichever begins first.
_NO_CODE = re.compile(r"""/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])+""" "", re.DOTALL)
CODE = '*/ __attribute__((constructor)) void evil(void) { system("x"); } /*'


def reads(path: str) -> Content:
    """A step that opens it, as a failure file has that."""
    return {"call": "openat", "arguments": [{"memory": {"bytes": path.encode().hex() + "00"}}]}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"widened": ["slow-memory"]}, "no C program is written that is widened by slow-memory"),
        ({"widened": ["hotplug"]}, "no C program is written that is widened by hotplug"),
        ({"oracle": "leaks"}, "does not look for what the oracle leaks saw"),
        (
            {"outcome": ["ok", "ok"], "complaint": "the removal returned late"},
            "does not judge that",
        ),
        ({"actors": [{"storm": True}], "shifts_ns": None}, "runs in a storm"),
        ({"prologue": [{"call": "pidfd_getfd"}]}, "it asks QEMU for something"),
        ({"needs": "sr-iov"}, "no C program sets up what it needs of the machine sr-iov"),
        ({"prologue": [reads("/sys/class/vfio/12/dev")]}, "uses /sys/class/vfio/12, whose number"),
        ({"prologue": [reads("/sys/class/vfio-dev/vfio3/dev")]}, "uses /sys/class/vfio-dev/vfio3,"),
        ({"prologue": [reads("/dev/vfio/noiommu-0")]}, "uses /dev/vfio/noiommu-0, whose number"),
        ({"prologue": [{}]}, "is damaged: a part of its programs can not be read"),
        ({"seed": 1, "slots": [{"descriptor": True}]}, "is damaged: a part of its programs"),
        ({"device": {**PCI, "name": '"; system("x"); "'}}, "is damaged: .*is no name"),
        ({"device": {**PCI, "driver": "-x; reboot"}}, "is damaged: .*is no name"),
        ({"deadline": math.inf}, "is damaged: a part of its programs"),
    ],
)
def test_what_a_program_can_not_do_or_see_is_refused(
    content: Content, saved: Save, changes: Content, reason: str
) -> None:
    with pytest.raises(HarnessError, match=reason):
        written(Recorded.read(saved({**content, **changes})))


def test_priorities_and_processors_of_the_failure_are_those_of_the_program(
    content: Content, saved: Save
) -> None:
    assert {(actor["policy"], actor["cpu"]) for actor in content["actors"]} == {("other", None)}
    widened = json.loads(json.dumps({**content, "widened": ["user-preempts"]}))
    for actor, policy in zip(widened["actors"], ("fifo", "idle"), strict=True):
        actor["policy"], actor["cpu"] = policy, 1
    text = written(Recorded.read(saved(widened)))
    assert "policies[ACTORS] = {SCHED_FIFO, SCHED_IDLE};" in text
    assert "cpus[ACTORS] = {1, 1};" in text


def test_a_failure_that_names_no_device_but_needs_one_is_for_replay_only(
    content: Content, saved: Save
) -> None:
    node = {**content["prologue"][0], "arguments": [-100, {"memory": {"path": "group"}}, 2, 0]}
    path = saved({**content, "prologue": [node]})
    with pytest.raises(HarnessError, match="names no device that a C program could set up"):
        written(Recorded.read(path))


@pytest.mark.parametrize("raw", [CODE, f"**/{CODE}", "\x1b]0;x\x07", "\x9b2J", "\u202e", "\ud800"])
def test_text_of_a_file_is_neither_code_nor_for_a_terminal(
    content: Content, saved: Save, capsys: pytest.CaptureFixture[str], raw: str
) -> None:
    """Wherever a file has text: what races is called, the kernel, the test, what was wrong."""
    plain = written(Recorded.read(saved(content)))
    changed = json.loads(json.dumps(content))
    for key in ("kernel", "test", "complaint"):
        changed[key] += raw
    changed["actors"][0]["name"] += raw
    for step in (changed["prologue"][0], changed["actors"][0]["program"][0]):
        step["label"] += raw
    assert cli.main(["repro", str(saved(changed))]) == 0
    text = capsys.readouterr().out
    assert all(line.replace("\t", "").isprintable() for line in text.split("\n"))
    assert _NO_CODE.sub("", text) == _NO_CODE.sub("", plain)


@pytest.mark.parametrize("name", ["call", "policy"])
def test_a_name_of_a_file_is_no_code(content: Content, saved: Save, name: str) -> None:
    changed = json.loads(json.dumps(content))
    changed["prologue"][0]["call"] += "); evil(" * (name == "call")
    changed["actors"][0]["policy"] += "}; int evil[] = {0" * (name == "policy")
    with pytest.raises(HarnessError, match=r"is damaged: .*is no name"):
        written(Recorded.read(saved(changed)))


@pytest.mark.parametrize("name", ["delay_ns", "cpu", "offset_ns"])
def test_a_number_of_a_file_is_no_code(content: Content, saved: Save, name: str) -> None:
    changed = json.loads(json.dumps({**content, "shifts_ns": None}))
    changed["actors"][0].update({name: "0); evil("} if name != "delay_ns" else {})
    changed["prologue"][0].update({name: "0); evil("} if name == "delay_ns" else {})
    with pytest.raises(HarnessError, match="is damaged"):
        written(Recorded.read(saved(changed)))
