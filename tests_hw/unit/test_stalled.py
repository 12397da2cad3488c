"""This file checks when a machine that says nothing is taken for one that its emulator stopped."""

import io
import json
import socket
import threading

import pytest

from vfio_hw.vm import stalled as module
from vfio_hw.vm.qmp import Qmp
from vfio_hw.vm.stalled import why_stalled

REGISTERS = "RIP=ffffffff81 RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT={}\n"
LAPIC = "Timer\t DCR=0x3 (divide by 16) initial_count = 57793512 current_count = {}\n"


@pytest.fixture
def monitor(monkeypatch):
    """Makes a monitor of processors: whether each is halted, and what its timer has left."""
    monkeypatch.setattr(module, "_BETWEEN", 0.0)
    ours, theirs = socket.socketpair()

    def answer(processors) -> None:
        for line in theirs.makefile():
            asked = json.loads(line)
            text = asked["arguments"].get("command-line", "")
            if text == "info registers -a":
                said = "".join(REGISTERS.format(halted) for halted, _ in processors)
            elif text:
                said = LAPIC.format(processors[int(text.split()[-1])][1])
            else:
                said = {}
            theirs.sendall(json.dumps({"return": said, "id": asked["id"]}).encode() + b"\n")

    def make(*processors: tuple[int, int], deaf: bool = False) -> Qmp:
        if not deaf:
            threading.Thread(target=answer, args=[processors], daemon=True).start()
        return Qmp(ours)

    yield make
    ours.close()
    theirs.close()


def test_a_machine_without_a_timer_is_stalled_and_its_processors_are_kept(monitor):
    log = io.StringIO()
    why = why_stalled(monitor((1, 0), (1, 0)), log, emulated=True)
    assert why == "no processor of the guest had a timer left: the emulator's fault"
    assert log.getvalue().count(f"{REGISTERS.format(1) * 2}\n(qemu) info lapic 0\n") == 3


@pytest.mark.parametrize(
    "processors",
    [[(1, 0), (1, 5409856)], [(0, 0), (1, 0)], []],
    ids=["a timer runs", "a processor runs", "nothing is said of processors"],
)
def test_any_other_speaks_of_its_kernel(monitor, processors):
    log = io.StringIO()
    assert why_stalled(monitor(*processors), log, emulated=True) == ""
    assert "(qemu) info registers -a\n" in log.getvalue()


def test_of_processors_that_are_not_emulated_the_timers_are_elsewhere(monitor):
    log = io.StringIO()
    assert why_stalled(monitor((1, 0)), log, emulated=False) == ""
    assert log.getvalue().count("(qemu) info registers -a\n") == 1


@pytest.mark.parametrize("emulated", [True, False])
def test_a_monitor_that_does_not_answer_is_the_emulators_fault(monitor, monkeypatch, emulated):
    monkeypatch.setattr(module, "_PATIENCE", 0.3)
    log = io.StringIO()
    why = why_stalled(monitor(deaf=True), log, emulated=emulated)
    assert why == f"{log.getvalue().strip()}: the emulator's fault"
    assert "QEMU did not answer within 0.3 s" in why
