"""This file checks what is said when a program fails, and that none is left running."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.vm.kernels import tools


@pytest.fixture
def interruptible():
    """SIGINT interrupts, also where a shell that runs us in the background had it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def watch(tmp_path):
    def run(script, timeout=30.0, glance=lambda: None):
        tools.watch(
            ["sh", "-c", script],
            "doing it",
            timeout=timeout,
            log=tmp_path / "log",
            into=tmp_path,
            glance=glance,
        )

    return run


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (
            "CC a.o\na.c:3:1: error: no\na.c:9: error: more\nmake: *** [a.o] Error 1\n",
            "a.c:3:1: err",
        ),
        ("LD x\nld: x.o: undefined reference to `y'\nmake: *** Error 1\n", "ld: x.o: undef"),
        ("W: first\nE: the cause\nmore\n", "E: the cause"),
        ("one\ntwo\n\n", "two"),
        ("", "it said nothing"),
    ],
)
def test_the_line_that_names_the_cause_is_told(output, line):
    assert tools.complaint(output).startswith(line)


@pytest.mark.parametrize(
    "output",
    [
        "as: a.o: No space left on device\nmake: *** Error 1",
        "E: You don't have enough free space in /x/.",
    ],
)
def test_a_full_disk_is_told_as_such_whatever_the_tool_says(output, tmp_path):
    told = str(tools.failure("building", "make", 2, output, tmp_path))
    assert told.startswith(f"no space left on the file system of {tmp_path}")
    assert "Error 1" not in told


def test_a_command_that_fails_is_one_sentence_and_names_its_log(watch, tmp_path):
    with pytest.raises(
        HarnessError, match=rf"doing it: sh failed with status 3: x: error: y .*{tmp_path}/log"
    ):
        watch("echo x: error: y; echo z; exit 3")


def test_a_command_that_is_not_there_is_named():
    with pytest.raises(HarnessError, match="trying: no-such-tool is not installed"):
        tools.run(["no-such-tool"], "trying", timeout=5)
    with pytest.raises(
        HarnessError, match="needs no-such-tool, not installed here: apt-get install it"
    ):
        tools.require([("sh", "dash"), ("no-such-tool", "it")], "that")


def test_nothing_that_steers_make_reaches_it(monkeypatch):
    monkeypatch.setenv("ARCH", "arm64")
    monkeypatch.setenv("MAKEFLAGS", "-k")
    assert not {"ARCH", "MAKEFLAGS"} & tools.environment().keys()
    assert tools.run(["sh", "-c", "echo $ARCH$MAKEFLAGS"], "asking", timeout=5) == "\n"


def gone(pid, deadline=10.0):
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        threading.Event().wait(0.02)
    return False


CHILD = "sleep 600 & echo $! > child; wait"


def test_at_the_deadline_every_process_of_a_command_is_ended(watch, tmp_path):
    with pytest.raises(HarnessError, match=r"not done in 0\.6 s"):
        watch(CHILD, timeout=0.6)
    assert gone(int((tmp_path / "child").read_text()))


def test_ctrl_c_ends_every_process_of_a_command(interruptible, watch, tmp_path):
    def interrupt():
        if (tmp_path / "child").exists() and (tmp_path / "child").read_text().strip():
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        watch(CHILD, glance=interrupt)
    assert gone(int((tmp_path / "child").read_text()))


def test_a_command_that_ignores_being_asked_is_killed(watch, tmp_path, monkeypatch):
    monkeypatch.setattr(tools, "_GRACE", 0.3)
    with pytest.raises(HarnessError, match="not done"):
        watch("trap '' TERM; echo $$ > child; while :; do sleep 1; done", timeout=0.6)
    assert gone(int((tmp_path / "child").read_text()))
