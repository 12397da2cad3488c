"""This file checks that a question which is never answered costs its own answer only."""

import os
import time
from pathlib import Path

import pytest

from vfio_hw.host.questions import answers


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """Reading it blocks for ever."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def soon() -> float:
    return time.monotonic() + 20.0


def test_answers_come_in_the_order_of_the_questions() -> None:
    questions = [lambda: "one", lambda: "", lambda: "x" * 300_000]
    assert answers(questions, patience=10.0, end=soon()) == ["one", "", "x" * 300_000]


def test_one_that_is_not_answered_does_not_take_the_others_along(fifo: Path) -> None:
    questions = [lambda: "before", fifo.read_text, lambda: "after", fifo.read_text]
    silent = "(did not answer within 1 s)"
    assert answers(questions, patience=1.0, end=soon()) == ["before", silent, "after", silent]


def test_who_did_not_answer_is_ended(fifo: Path) -> None:
    answers([fifo.read_text], patience=0.1, end=soon())
    end = time.monotonic() + 10.0
    with pytest.raises(ChildProcessError):
        while time.monotonic() < end:
            os.waitpid(0, os.WNOHANG)
            time.sleep(0.01)


def test_a_refusal_is_an_answer(tmp_path: Path) -> None:
    questions = [(tmp_path / "missing").read_text, lambda: "after"]
    given = answers(questions, patience=10.0, end=soon())
    assert given == ["(No such file or directory)", "after"]


def test_when_time_is_up_nothing_more_is_asked(fifo: Path) -> None:
    questions = [lambda: "early", fifo.read_text, lambda: "late"]
    *_, last = answers(questions, patience=0.3, end=time.monotonic() + 0.2)
    assert last.startswith("(not asked")


def test_no_descriptor_is_left_open(fifo: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    answers([fifo.read_text, lambda: ""], patience=0.1, end=soon())
    assert len(list(Path("/proc/self/fd").iterdir())) == before
