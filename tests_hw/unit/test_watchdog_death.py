"""This file checks that a kernel which took pytest with it is blamed, and remembered."""

import os
import signal
import socket

import pytest

from vfio_hw.oracle import taint
from vfio_hw.report.events import EventLog
from vfio_hw.watchdog import death, guard

OOPS = [
    "BUG: kernel NULL pointer dereference, address: 0000000000000000",
    "#PF: supervisor write access in kernel mode",
    "Oops: Oops: 0002 [#1] SMP NOPTI",
    "RIP: 0010:lkdtm_EXCEPTION+0x9/0x10 [lkdtm]",
    "---[ end trace 0000000000000000 ]---",
]
TITLE = "kernel log: BUG: unable to handle kernel NULL pointer dereference in lkdtm_EXCEPTION"


def logging(*parts):
    """What the kernel has logged, call by call."""
    left = iter(parts)
    return lambda: list(next(left, []))


def test_a_report_is_taken_whole():
    found = death.fault(logging(OOPS[:3], OOPS[3:]), frozenset())
    assert found and found.titles == [TITLE] and found.text.endswith(OOPS[-1])


def test_a_fault_that_the_log_has_lost_is_one_all_the_same():
    found = death.fault(logging(["unrelated"]), frozenset({"oops"}))
    assert found and found.titles == ["kernel log: the kernel has noted a fault of its own: oops"]


def test_a_kernel_that_says_nothing_of_the_kind_is_not_blamed():
    assert death.fault(logging(["Out of memory: Killed process 7 (python)"]), frozenset()) is None


@pytest.mark.parametrize(
    "bits, kinds", [(0, set()), (1 << 12, set()), (128 | 512, {"oops", "war"})]
)
def test_a_kernel_notes_its_faults(tmp_path, bits, kinds):
    (tmp_path / "tainted").write_text(f"{bits}\n")
    assert {name[:4].rstrip("n") for name in taint.faults(tmp_path / "tainted")} == kinds


@pytest.fixture
def watching(tmp_path, monkeypatch):
    """A guard of a process that is gone, which has a kernel of its own; plays it to the end."""
    port = tmp_path / "events"
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    gone = os.fork()
    if gone == 0:
        signal.pause()
        os._exit(0)
    process = guard.Watched(gone, os.pidfd_open(gone), -1)
    said, noted = [], []
    monkeypatch.setattr(guard, "_say", said.append)

    def play(logged, *messages, distrust=noted.append):
        opened = os.open(port, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        watching = guard._Guard(theirs, process, 60.0, opened, False, distrust)
        lines = logging(logged)
        monkeypatch.setattr(watching._log, "lines", lines)
        for message in messages:
            watching._take(message)
        os.kill(gone, signal.SIGKILL)
        watching.serve()
        os.close(opened)
        return list(EventLog(port).read()), noted, said

    with ours, theirs:
        yield play
    os.waitpid(gone, 0)
    os.close(process.pidfd)


def test_a_test_that_the_kernel_took_with_it_has_failed(watching):
    (finished, unusable), noted, said = watching(OOPS, b"began t.py::test_x")
    assert (finished["test"], finished["verdict"]) == ("t.py::test_x", "failed")
    assert finished["findings"] == [TITLE] and OOPS[3] in finished["text"]
    assert unusable == {"event": "unusable", "text": f"{TITLE} while t.py::test_x ran"}
    assert noted == [unusable["text"]] and said == [finished["text"]]


def test_what_the_kernel_does_between_two_tests_is_told_too(watching):
    (finished, _), noted, _ = watching(OOPS, b"began t.py::test_x", b"ended")
    assert (finished["test"], finished["verdict"]) == ("after t.py::test_x", "failed")
    assert noted == [f"{TITLE} after t.py::test_x"]


def test_a_process_that_ends_by_itself_says_nothing_of_the_kernel(watching):
    (finished,), noted, _ = watching(["unrelated"], b"began t.py::test_x")
    assert (finished["verdict"], finished["oracle"], noted) == ("error", "exit", [])


def test_a_kernel_whose_fault_can_not_be_noted_is_told_all_the_same(watching):
    def full(why):
        raise OSError(28, "No space left on device")

    (finished, _), _, said = watching(OOPS, b"began t.py::test_x", distrust=full)
    assert finished["verdict"] == "failed" and said[-1] == finished["text"]
    assert "can not be kept for later runs: [Errno 28] No space" in said[0]
