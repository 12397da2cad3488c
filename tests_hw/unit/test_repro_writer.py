"""This file checks what of a failure is written into its C program, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.race.again import Recorded
from vfio_hw.repro.writer import written

Content = dict[str, Any]
Save = Callable[[object], Path]


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
        ({"prologue": [{}]}, "is damaged: a part of its programs can not be read"),
        ({"seed": 1, "slots": [{"descriptor": True}]}, "is damaged: a part of its programs"),
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
