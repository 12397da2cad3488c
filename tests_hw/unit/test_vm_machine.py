"""This file checks how a guest's end is judged by what it said, with a machine that is played."""

import json
import os
import socket
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from vfio_hw.vm import machine, stalled
from vfio_hw.vm.console import Console
from vfio_hw.vm.machine import Deadlines, Ending, Guest
from vfio_hw.vm.power import Powered

ALIVE, PANIC = b"[    0.0] Linux version 7.3.4\n", b"[    9.0] Kernel panic - not syncing: why"
CONSOLE, EVENTS, OUTPUT = range(3)
# What it says of processors when they stand still, and when KVM has their timers.
STILL = "HLT=1 current_count = 0"


def answer(monitor: socket.socket) -> None:
    """What a monitor does that is asked about processors."""
    for line in monitor.makefile():
        told = {"return": STILL, "id": json.loads(line)["id"]}
        monitor.sendall(json.dumps(told).encode() + b"\n")


@pytest.fixture
def ended(tmp_path, monkeypatch):
    """Plays a guest; its function gets what prints on a port. It may also print without an end,
    and its monitor be deaf.
    """
    ends, over = [], threading.Event()

    def power_on(guest, said):
        said.write_text("")
        pipes = [os.pipe() for _ in range(4)]
        monitor, requests = socket.socketpair(), socket.socketpair()
        requests[0].setblocking(False)
        kept = [monitor[1], requests[1]]
        if "deaf" not in guest.environment:
            threading.Thread(target=answer, args=[monitor[1]], daemon=True).start()

        def play():
            guest.append(lambda port, data: os.write(pipes[port][1], data))
            over.wait(30.0)
            for pipe in pipes:
                os.close(pipe[1])
            for end in kept:
                end.close()

        ends.append(threading.Thread(target=play))
        ends[0].start()
        process = subprocess.Popen(["sleep", "60"])
        ports = [pipe[0] for pipe in pipes]
        if "endless" in guest.environment:
            # Whoever looks whether it has said more finds that it has.
            with Path("/dev/random").open("rb") as random:
                os.dup2(random.fileno(), ports[OUTPUT])
            monkeypatch.setattr(machine, "PORT_SIZE", 64)
        return Powered(process, ports, monitor[0], requests[0])

    def run(play, *, like="", accelerator="kvm", **deadlines):
        guest = Guest(tmp_path, None, None, [], accelerator=accelerator, append=play)
        guest = replace(guest, environment=dict.fromkeys(like.split(), ""))
        try:
            return machine.run(guest, tmp_path, deadlines=Deadlines(**deadlines))
        finally:
            over.set()
            ends[0].join()

    monkeypatch.setattr(machine, "power_on", power_on)
    monkeypatch.setattr(machine, "_OVERTIME", 0.5)
    return run


def event(kind: str) -> bytes:
    return json.dumps({"event": kind}).encode() + b"\n"


def test_a_kernel_that_does_not_stop_printing_is_hung_at_its_deadline(ended):
    def play(tell):
        tell(CONSOLE, ALIVE)
        tell(EVENTS, event("booted") + event("session"))

    began = time.monotonic()
    end = ended(play, like="endless", silence=1.0)
    assert time.monotonic() - began < 10.0
    assert end.ending is Ending.HUNG
    assert "did not stop printing after it booted" in end.text


def test_one_that_has_panicked_and_does_not_stop_printing_has_panicked(ended):
    def play(tell):
        tell(CONSOLE, ALIVE + PANIC + b"\n")

    end = ended(play, like="endless", boot=60.0)
    assert (end.ending, end.seconds < 10.0) == (Ending.PANICKED, True)
    assert end.text == "Kernel panic - not syncing: why"


def test_what_a_guest_said_in_time_is_heard_by_a_harness_that_was_not_listening(ended, monkeypatch):
    """However long that was."""
    heard = threading.Event()

    def play(tell):
        tell(CONSOLE, ALIVE)
        tell(EVENTS, event("booted"))
        heard.wait(10.0)
        time.sleep(0.5)
        for _ in range(2000):
            tell(EVENTS, event("noise"))
        tell(EVENTS, b'{"event": "exit", "status": 7}\n')

    real = machine._Life._event

    def event_and_sleep(self, line):
        real(self, line)
        if b"booted" in line:
            heard.set()
            time.sleep(3.0)

    monkeypatch.setattr(machine._Life, "_event", event_and_sleep)
    end = ended(play, silence=1.0, boot=1.0)
    assert (end.ending, end.status) == (Ending.EXITED, 7)


def test_a_kernel_that_never_prints_is_told_what_it_needs(ended):
    end = ended(lambda tell: None, boot=0.5)
    assert end.ending is Ending.NO_BOOT
    assert "no kernel spoke on the console before the deadline" in end.text
    assert "CONFIG_SERIAL_8250_CONSOLE=y" in end.text


def test_a_kernel_that_booted_without_a_word_did_boot(ended):
    """One that was told to be quiet."""
    end = ended(lambda tell: tell(EVENTS, event("booted") + event("session")), silence=0.5)
    assert end.ending is Ending.HUNG
    assert "after it booted" in end.text


@pytest.mark.parametrize(
    ("accelerator", "like", "ending", "said"),
    [
        ("tcg", "", Ending.CUT_OFF, STILL),
        ("kvm", "", Ending.HUNG, STILL),
        ("tcg", "deaf", Ending.CUT_OFF, "QEMU did not answer within 0.3 s"),
        ("kvm", "deaf", Ending.CUT_OFF, "QEMU did not answer within 0.3 s"),
    ],
)
def test_whose_fault_the_silence_of_a_guest_is_its_monitor_tells(
    ended, monkeypatch, tmp_path, accelerator, like, ending, said
):
    monkeypatch.setattr(stalled, "_PATIENCE", 0.3)

    def play(tell):
        tell(EVENTS, event("booted") + event("session"))

    assert ended(play, like=like, accelerator=accelerator, silence=0.5).ending is ending
    assert said in (tmp_path / "monitor.log").read_text()


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_panic_is_seen_however_it_comes(tmp_path, size):
    said = ALIVE + b"x" * 50 + PANIC + b"\nCall Trace:\n"
    with (tmp_path / "console").open("wb") as file:
        console = Console(file)
        for begin in range(0, len(said), size):
            console.take(said[begin : begin + size])
    assert console.alive
    assert console.panicked_at is not None
    assert console.last_words == "Kernel panic - not syncing: why"
    assert (tmp_path / "console").read_bytes() == said


def test_a_long_console_takes_no_longer_to_go_through_than_its_length(tmp_path):
    line = b"[   50.0] one line of many, which a kernel repeats and repeats\n"
    with (tmp_path / "console").open("wb") as file:
        console = Console(file)
        began = time.process_time()
        for _ in range(100_000):
            console.take(line)
        assert time.process_time() - began < 10.0
