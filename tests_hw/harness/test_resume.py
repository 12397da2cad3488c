"""This file checks that no verdict is lost, and none given twice, whatever ends a run from outside.

Each test compares a run that something kills again and again with one that nothing disturbs. It
kills a few times; VFIO_HW_KILLS says how often instead.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from vfio_hw import run
from vfio_hw.report.events import EventLog
from vfio_hw.vm.progress import MOST_KILLED

KILLS = int(os.environ.get("VFIO_HW_KILLS", "3"))
SELECTION = ["tests_hw/contract/test_kinds.py", "tests_hw/contract/test_argsz.py"]
# Seconds that a guest of its own would need for all of it, and more.
WHOLE = 120.0
_TICK = 0.05


def line(*words: str) -> list[str]:
    return [sys.executable, "-m", "vfio_hw", "run", *words]


def begun(results: Path) -> list[str]:
    options = ["--accel", "tcg", "--seed", "1", "--most-lost", "1000", "--results", str(results)]
    return line(*options, *SELECTION)


def verdicts(results: Path) -> Counter[tuple[str, str]]:
    found = EventLog(results / "events.jsonl").results()
    return Counter((result.test, result.verdict) for result in found)


@pytest.fixture(scope="module")
def undisturbed(kernel, tmp_path_factory) -> tuple[Counter[tuple[str, str]], float]:
    """The verdicts of a run that nothing disturbs, and the seconds it took."""
    results = tmp_path_factory.mktemp("undisturbed") / "results"
    start = time.monotonic()
    subprocess.run(begun(results), stdout=subprocess.DEVNULL, timeout=2 * WHOLE, check=True)
    found = verdicts(results)
    assert len(found) > 20
    assert set(found.values()) == {1}
    return found, time.monotonic() - start


def has_begun(results: Path) -> bool:
    record = results / "events.jsonl"
    return record.exists() and any(EventLog(record).read())


class Moments:
    """Draws when to kill, and spares a test that has been killed as often as it may be."""

    def __init__(self, results: Path, longest: float) -> None:
        self._log, self._longest = EventLog(results / "events.jsonl"), longest
        self._draw = random.Random(os.urandom(8))
        self._killed: Counter[str] = Counter()

    def wait(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait for a random time; False when the process ended before."""
        end = time.monotonic() + self._draw.uniform(0, self._longest)
        while time.monotonic() < end or self._killed[self._running()] >= MOST_KILLED - 1:
            if process.poll() is not None:
                return False
            time.sleep(_TICK)
        self._killed[self._running()] += 1
        return True

    def _running(self) -> str:
        running = ""
        if self._log.path.exists():
            for event in self._log.read():
                running = event["test"] if event["event"] == "started" else running
                running = "" if event["event"] in ("finished", "guest") else running
        # No test is running: that can not be counted against one.
        return running or os.urandom(8).hex()


def guests_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        children = psutil.Process(process.pid).children()
        return [child for child in children if child.name().startswith("qemu-system")]
    except psutil.NoSuchProcess:
        return []


def test_a_run_whose_guests_are_killed_comes_to_the_same_verdicts(undisturbed, tmp_path):
    expected, seconds = undisturbed
    results = tmp_path / "results"
    moments, killed = Moments(results, seconds * 2 / 3), 0
    with subprocess.Popen(begun(results), stdout=subprocess.DEVNULL) as harness:
        while harness.poll() is None:
            if killed < KILLS and moments.wait(harness):
                for guest in guests_of(harness):
                    guest.kill()
                    killed += 1
            time.sleep(_TICK)
    assert killed
    assert harness.returncode == run.OK
    assert verdicts(results) == expected


def test_a_run_that_is_killed_is_completed_by_another(undisturbed, tmp_path):
    expected, seconds = undisturbed
    results = tmp_path / "results"
    moments, command = Moments(results, seconds), begun(results)
    for _ in range(KILLS):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as harness:
            # It may be faster than the one that was not disturbed.
            over = not moments.wait(harness)
            if not over:
                harness.send_signal(signal.SIGKILL)
        if has_begun(results):
            command = line("--resume", str(results))
        else:
            shutil.rmtree(results, ignore_errors=True)
        if over:
            break
    subprocess.run(command, stdout=subprocess.DEVNULL, timeout=2 * WHOLE, check=True)
    assert verdicts(results) == expected


def test_a_run_is_completed_only_by_one_at_a_time(undisturbed, tmp_path):
    results = tmp_path / "results"
    with subprocess.Popen(begun(results), stdout=subprocess.PIPE, text=True) as harness:
        assert harness.stdout is not None
        assert next(harness.stdout).startswith("kernel ")
        command = line("--resume", str(results))
        second = subprocess.run(command, capture_output=True, text=True, timeout=WHOLE)
        harness.kill()
    assert second.returncode == run.HARNESS_WRONG
    assert "another run is writing" in second.stderr
