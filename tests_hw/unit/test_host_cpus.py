"""A CPU that goes and comes is there after, whoever is killed; a file stands for its switch."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vfio_hw.errors import HarnessError, Unsupported
from vfio_hw.host import sysfs
from vfio_hw.host.cpus import coming_and_going
from vfio_hw.host.process import process_state

DEADLINE = 10.0


@pytest.fixture
def switch(tmp_path) -> Path:
    (tmp_path / "cpu1").mkdir()
    (tmp_path / "cpu1/online").write_text("1")
    return tmp_path / "cpu1/online"


def until(holds: Callable[[], object], what: str) -> None:
    end = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.001)


def test_it_goes_and_comes_and_is_there_after(switch, tmp_path):
    with coming_and_going(1, tmp_path):
        for word in "01" * 3:
            until(lambda word=word: switch.read_text() == word, f"it is never {word}")
    assert switch.read_text() == "1"


def test_it_comes_back_when_the_tests_are_killed(switch, tmp_path):
    """Killed with the CPU away or not: whoever took it away brings it back and ends."""
    for _ in range(5):
        tests = os.fork()
        if not tests:
            try:
                with coming_and_going(1, tmp_path):
                    time.sleep(DEADLINE)
            finally:
                os._exit(1)
        until(lambda: switch.read_text() == "0", "it never goes")
        noise = int(Path(f"/proc/{tests}/task/{tests}/children").read_text())
        os.kill(tests, signal.SIGKILL)
        os.waitpid(tests, 0)
        until(lambda noise=noise: process_state(noise).state in "XZ", "who took it away is there")
        assert switch.read_text() == "1"


def test_a_journal_has_it_from_before_it_goes_until_it_is_back(switch, tmp_path, monkeypatch):
    told: list[tuple[str, str]] = []

    class Keeper:
        def before(self, path: Path, text: str) -> None:
            told.append((text, path.read_text()))

        def after(self, token: None, *, made: bool) -> None:
            told.append(("made" if made else "failed", switch.read_text()))

    monkeypatch.setattr(sysfs, "keepers", [Keeper()])
    with coming_and_going(1, tmp_path):
        until(lambda: switch.read_text() == "0", "it never goes")
        assert told == [("0", "1")]
    assert told == [("0", "1"), ("made", "1")]


def test_one_that_can_not_go_is_told(switch, tmp_path):
    with (
        pytest.raises(Unsupported, match="CPU 0 can not be taken away"),
        coming_and_going(0, tmp_path),
    ):
        pass
    switch.unlink()
    switch.mkdir()
    with (
        pytest.raises((HarnessError, IsADirectoryError), match="Is a directory"),
        coming_and_going(1, tmp_path),
    ):
        pass
