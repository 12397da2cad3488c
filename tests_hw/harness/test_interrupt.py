"""This file checks that a run that is ended from outside takes its guest with it."""

import signal
import subprocess
import sys
import threading

import psutil
import pytest

from vfio_hw import run

PATIENCE = 60.0


@pytest.fixture
def interruptible():
    """Signals end whom we start, also where a shell or nohup that runs us had them ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    nohup = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, before)
    signal.signal(signal.SIGHUP, nohup)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_whatever_ends_a_run_ends_its_guest(interruptible, kernel, tmp_path, number):
    line = [sys.executable, "-m", "vfio_hw", "run", "--accel", "tcg"]
    line += ["--results", str(tmp_path / "results"), "tests_hw/lifecycle"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as harness:
        assert harness.stdout is not None
        late = threading.Timer(PATIENCE, harness.kill)
        late.start()
        verdict = next((text for text in harness.stdout if text.startswith("ok")), "none in time")
        late.cancel()
        assert "tests_hw/lifecycle" in verdict
        guests = psutil.Process(harness.pid).children(recursive=True)
        assert guests
        harness.send_signal(number)
        harness.wait(PATIENCE)
        said = harness.stdout.read()
    _, alive = psutil.wait_procs(guests, PATIENCE)
    # One that nobody has reaped yet holds nothing any more.
    assert [guest for guest in alive if guest.status() != psutil.STATUS_ZOMBIE] == []
    if number != signal.SIGKILL:
        assert harness.returncode == run.INTERRUPTED
        assert "the guest is gone" in said
