"""This file checks when the emulator is to blame for a silent guest; its monitor is played."""

import io
import json
import socket
import threading

import pytest

from vfio_hw.vm import stalled
from vfio_hw.vm.qmp import Qmp

HALTED = "EIP=1 HLT=1\nEIP=2 HLT=1\n"
NO_TIMER, TIMER = "\t initial_count = 9 current_count = 0\n", "\t current_count = 17\n"


@pytest.fixture
def why(monkeypatch):
    """Asks of a guest whose monitor says this of its processors; None is no answer at all."""
    monkeypatch.setattr(stalled, "_BETWEEN", 0.0)
    log = io.StringIO()

    def ask(registers: str | None, *timers: str) -> tuple[str, str]:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            player = threading.Thread(target=play, args=(theirs, registers, timers))
            player.start()
            found = stalled.why_stalled(Qmp(ours), log)
            ours.shutdown(socket.SHUT_RDWR)
            player.join()
        return found, log.getvalue()

    return ask


def play(connection: socket.socket, registers: str | None, timers: tuple[str, ...]) -> None:
    # One file for both loses what it has read when it writes.
    with connection.makefile("r") as lines, connection.makefile("w") as answers:
        for line in lines:
            asked = json.loads(line)
            words = asked["arguments"].get("command-line", "")
            said = timers[int(words.split()[-1])] if "lapic" in words else registers
            if words and said is None:
                return
            answers.write(json.dumps({"return": said or "", "id": asked["id"]}) + "\n")
            answers.flush()


def test_processors_that_nothing_can_wake_are_the_emulators_fault(why):
    found, log = why(HALTED, NO_TIMER, NO_TIMER)
    assert found == "no processor of the guest had a timer left: the emulator's fault"
    assert log.count(HALTED) == 3


@pytest.mark.parametrize(
    ("registers", "timers"),
    [
        (HALTED, (NO_TIMER, TIMER)),
        (HALTED, (NO_TIMER, "unknown command")),
        (HALTED.replace("HLT=1", "HLT=0", 1), (NO_TIMER, NO_TIMER)),
        ("", ()),
    ],
)
def test_a_guest_that_could_have_spoken_is_at_fault_itself(why, registers, timers):
    found, log = why(registers, *timers)
    assert found == ""
    assert "(qemu) info registers -a" in log


def test_a_qemu_that_does_not_answer_is_at_fault(why, monkeypatch):
    monkeypatch.setattr(stalled, "_PATIENCE", 0.1)
    found, log = why(None)
    assert found == f"{log.strip()}: the emulator's fault"
    assert "QEMU did not answer within 0.1 s" in found
