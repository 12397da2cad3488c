"""This file checks how the pytest of a run on this machine is listened to, and ended."""

import os
import signal
import subprocess
import sys
import time

import pytest

from vfio_hw.here import child as module
from vfio_hw.here.child import Child, Stuck


@pytest.fixture
def child(tmp_path):
    """Starts a Python program, which has the path of its events as ``events``."""
    children: list[Child] = []
    kept: list[int] = []

    def start(program: str) -> Child:
        events = tmp_path / "events"
        head = f"import os, signal, sys, time\nevents = {str(events)!r}\n"
        kept.append(os.open(events, os.O_RDWR | os.O_CREAT))
        made = Child(
            [sys.executable, "-c", head + program],
            cwd=tmp_path,
            environment=os.environ,
            output=subprocess.DEVNULL,
            events=kept[-1],
            passed=[],
        )
        children.append(made)
        return made

    yield start
    for made in children:
        made.close()
    for descriptor in kept:
        os.close(descriptor)


def test_every_event_is_taken_once_and_what_is_none_is_not(child):
    taken = []
    program = r"""
with open(events, "w") as file:
    for text in ('{"event": "a"}\n', 'noise\n[1]\n{"event"', ': "b"}\n', '{"event": "c"'):
        file.write(text)
        file.flush()
        time.sleep(0.3)
sys.exit(7)
"""
    assert child(program).follow(20.0, taken.append) == 7
    assert [event["event"] for event in taken] == ["a", "b"]


def test_the_last_word_of_its_watchdog_is_waited_for(child):
    """It comes when the process is gone already."""
    taken = []
    program = """
if os.fork() == 0:
    import fcntl
    file = open(events, "a")
    fcntl.flock(file, fcntl.LOCK_SH)
    open("locked", "w").close()
    time.sleep(1.0)
    file.write('{"event": "finished"}\\n')
    file.flush()
    os._exit(0)
while not os.path.exists("locked"):
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert child(program).follow(20.0, taken.append) == -signal.SIGKILL
    assert [event["event"] for event in taken] == ["finished"]


def test_one_that_stands_still_is_ended_so_that_it_can_give_back(child, tmp_path):
    program = """
def end(*_):
    open("given back", "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
open(events, "w").write('{"event": "started"}\\n')
time.sleep(60)
"""
    began = time.monotonic()
    assert child(program).follow(2.0, lambda event: None) is None
    assert (tmp_path / "given back").exists() and time.monotonic() - began < 20


def test_one_that_does_not_listen_is_killed(child, monkeypatch):
    monkeypatch.setattr(module, "GRACE", 0.5)
    program = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)"
    assert child(program).follow(2.0, lambda event: None) is None


def test_one_that_can_not_be_killed_is_told(child, monkeypatch):
    monkeypatch.setattr(module, "GRACE", 0.1)
    monkeypatch.setattr(module, "LAST_GRACE", 0.1)
    made = child("time.sleep(60)")
    monkeypatch.setattr(made._process, "send_signal", lambda number: None)
    with pytest.raises(
        Stuck, match=r"does not let pytest go, so nothing was put back beside it: pid \d+ \("
    ):
        made.end()
    monkeypatch.undo()
