"""This file checks what is said of a hang: who waits where, and what a person can do about it."""

import os
import signal
from pathlib import Path

import pytest

from vfio_hw.host.process import Task
from vfio_hw.watchdog import evidence
from vfio_hw.watchdog.advice import advice


@pytest.fixture
def sysrq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where keys are pressed, in place of this machine's own."""
    path = tmp_path / "sysrq-trigger"
    path.touch()
    monkeypatch.setattr(evidence, "SYSRQ", path)
    return path


def test_the_kernel_is_asked_what_blocks_and_where_everybody_is(
    sysrq: Path, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    child = os.fork()
    if child == 0:
        os.open(fifo, os.O_RDONLY)
        os._exit(0)
    logged = iter([["logged by the test"], ["the answer to the key"]])
    try:
        found = evidence.gathered(os.getpid(), lambda: next(logged, []))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert any(line.startswith(f"pid {child} thread {child} (") for line in found.stuck)
    assert any(line.startswith(f"pid {os.getpid()} ") for line in found.stuck)
    assert "logged since the test began:\nlogged by the test\n" in found.details
    assert "sysrq w:\nthe answer to the key" in found.details
    assert sysrq.read_text(), "no key was pressed"


def test_who_can_be_ended_is_told_and_who_can_not(tmp_path: Path) -> None:
    device = "anon_inode:[vfio-device]"
    held = [f"pid 7 (python) descriptor 9: {device}", f"pid 8 (qemu) mapping 7f00-7f10: {device}"]
    said = advice([Task(7, 7, 1, "python", "D")], held)
    assert "close or end it (kill 8): qemu holds mapping 7f00-7f10" in said
    assert "kill 7" not in said
    assert "pid 7 (python), which holds descriptor 9" in said
    assert "only a reboot" in said


def test_a_hang_that_holds_nothing_is_no_case_for_a_reboot() -> None:
    assert "reboot" not in advice([], [])
