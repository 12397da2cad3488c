"""This file checks how records of /dev/kmsg are read, attributed to tests and judged."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.oracle import Oracles, kernel_log
from vfio_hw.oracle.iommu_faults import Faults
from vfio_hw.oracle.kernel_log import KernelLog, parsed

WARNING = "WARNING: a.c:1 at sample_first+0x1/0x10, CPU#0: sh/1"
FAULT = (
    "DMAR: [DMA Read NO_PASID] Request device [0000:00:04.0] fault addr 0x10000 [fault reason 0x06]"
    " PTE Read access is not set"
)
STOPPED_WRITE = FAULT.replace("DMA Read", "DMA Write")
DEVICE = "0000:00:04.0"
KERNEL, USER = 4, 12  # priority: facility 0 or 1, level warning


class Ring:
    """A kernel log: what a read of /dev/kmsg gives, one record or error at a time."""

    def __init__(self) -> None:
        self.answers: list[bytes | OSError] = []
        self.sequence = 100

    def say(self, text: str, priority: int = KERNEL) -> None:
        self.answers.append(f"{priority},{self.sequence},5000,-;{text}\n".encode())
        self.sequence += 1

    def lose(self, records: int) -> None:
        self.answers.append(OSError(errno.EPIPE, "Broken pipe"))
        self.sequence += records

    def read(self, descriptor: int, size: int) -> bytes:
        if not self.answers:
            raise BlockingIOError
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> Ring:
    made = Ring()
    monkeypatch.setattr(kernel_log.os, "read", made.read)
    return made


@pytest.fixture
def log(ring: Ring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KernelLog]:
    device = tmp_path / "kmsg"
    device.touch()
    monkeypatch.setattr(kernel_log, "_QUIET", 0.01)
    monkeypatch.setattr(kernel_log, "_FAULT_DEADLINE", 0.05)
    monkeypatch.setattr(kernel_log, "_FAULTS_SECONDS", 0.3)
    opened = KernelLog(device)
    yield opened
    opened.close()


def during(log: KernelLog, happens: Callable[[], object]) -> list[str]:
    log.before("a test")
    happens()
    return [finding.title for finding in log.after()]


def test_a_record_is_taken_apart() -> None:
    record = parsed(
        b"6,339,5140900,-;NET: caf\\xc3\\xa9\\x0asecond\n SUBSYSTEM=pci\n DEVICE=+pci:0\n"
    )
    assert (record.facility, record.sequence) == (0, 339)
    assert record.text == "NET: café\nsecond"


def test_a_splat_during_the_test_is_found(log: KernelLog, ring: Ring) -> None:
    assert during(log, lambda: ring.say(WARNING)) == ["WARNING in sample_first"]


def test_an_ordinary_line_is_no_finding(log: KernelLog, ring: Ring) -> None:
    assert during(log, lambda: ring.say("mtty mtty: MDEV: Registered")) == []


def test_what_a_program_wrote_is_no_splat(log: KernelLog, ring: Ring) -> None:
    assert during(log, lambda: ring.say(WARNING, USER)) == []


def test_the_rest_of_a_report_is_waited_for(
    log: KernelLog, ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A thread of a busy machine may be late by much more than a kernel that is writing a report.
    monkeypatch.setattr(kernel_log, "_QUIET", 0.5)
    log.before("a test")
    ring.say("INFO: task sh:1 blocked for more than 20 seconds.")
    later = threading.Timer(0.005, lambda: ring.say(" sample_wait+0x1/0x2"))
    later.start()
    assert [finding.title for finding in log.after()] == ["INFO: task hung in sample_wait"]
    later.join()


def test_an_iommu_fault_is_a_finding_like_a_splat(log: KernelLog, ring: Ring) -> None:
    title = "IOMMU fault: DMA Read, PTE Read access is not set"
    assert during(log, lambda: ring.say(FAULT)) == [title]


def test_a_declared_iommu_fault_is_no_finding(log: KernelLog, ring: Ring) -> None:
    for faults in (Faults.MAY, Faults.MUST):
        log.before("a test", faults=faults)
        ring.say(FAULT)
        assert log.after(faults=faults, of=DEVICE) == []


def test_a_declared_iommu_fault_must_come_when_the_test_ran(log: KernelLog, ring: Ring) -> None:
    log.before("a test", faults=Faults.MAY)
    assert log.after(faults=Faults.MAY, of=DEVICE) == []
    log.before("a test", faults=Faults.MAY)
    assert [finding.title for finding in log.after(faults=Faults.MUST, of=DEVICE)] == [
        "no IOMMU fault came"
    ]


def test_of_each_direction_that_is_declared_a_fault_must_come(log: KernelLog, ring: Ring) -> None:
    for said, expected in ((FAULT,), ["no IOMMU fault came"]), ((FAULT, STOPPED_WRITE), []):
        log.before("a test", faults=Faults.MAY)
        for line in said:
            ring.say(line)
        found = log.after(faults=Faults.MUST, of=DEVICE, each=("read", "write"))
        assert [finding.title for finding in found] == expected
        assert all("logged none of any write within" in finding.text for finding in found)


def test_a_declared_iommu_fault_excuses_no_splat(log: KernelLog, ring: Ring) -> None:
    log.before("a test", faults=Faults.MAY)
    ring.say(FAULT)
    ring.say(WARNING)
    titles = [finding.title for finding in log.after(faults=Faults.MUST, of=DEVICE)]
    assert titles == ["WARNING in sample_first"]


def test_a_declared_iommu_fault_excuses_none_of_another_device(log: KernelLog, ring: Ring) -> None:
    for of in ("0000:00:05.0", None):
        log.before("a test", faults=Faults.MAY)
        ring.say(FAULT)
        (finding,) = log.after(faults=Faults.MAY, of=of)
        assert finding.title.startswith("IOMMU fault: DMA Read, ")
    log.before("a test", faults=Faults.MAY)
    ring.say(FAULT)
    titles = [finding.title for finding in log.after(faults=Faults.MUST, of="0000:00:05.0")]
    assert titles == ["no IOMMU fault came", "IOMMU fault: DMA Read, PTE Read access is not set"]


def test_a_fault_is_not_asked_for_while_the_kernel_logs_none(log: KernelLog, ring: Ring) -> None:
    """It logs a few within some seconds, and then none until these are over."""
    log.before("a test", faults=Faults.MAY)
    for _ in range(2):
        ring.say(FAULT)
    assert log.after(faults=Faults.MUST, of=DEVICE) == []
    began = time.monotonic()
    log.before("a test that declares none")
    assert time.monotonic() - began < 0.2
    log.before("the next test", faults=Faults.MAY)
    assert time.monotonic() - began > 0.2


def test_a_splat_between_tests_is_told_with_the_next_test(log: KernelLog, ring: Ring) -> None:
    assert during(log, lambda: None) == []
    ring.say(WARNING)
    log.before("the next test")
    (finding,) = log.after()
    assert finding.text.startswith("logged before the next test began")
    assert during(log, lambda: None) == [], "it is told once"


def test_the_same_fault_again_and_again_is_one_finding(log: KernelLog, ring: Ring) -> None:
    log.before("a test")
    for _ in range(3):
        ring.say(WARNING)
    (finding,) = log.after()
    assert finding.text == f"{WARNING}\n(reported 3 times)"


def test_lost_records_are_counted(log: KernelLog, ring: Ring) -> None:
    def flood() -> None:
        ring.say("one")
        ring.lose(41)
        ring.say(WARNING)

    log.before("a test")
    flood()
    splat, overflow = log.after()
    assert splat.title == "WARNING in sample_first"
    assert overflow.title == "the kernel log overflowed"
    assert overflow.text.startswith("41 records were overwritten")


def test_records_lost_in_the_wait_for_a_fault_are_counted(log: KernelLog, ring: Ring) -> None:
    log.before("a test", faults=Faults.MAY)
    ring.say(FAULT)
    ring.lose(7)
    ring.say("one")
    (overflow,) = log.after(faults=Faults.MUST, of=DEVICE)
    assert overflow.text.startswith("7 records were overwritten")


def test_the_marker_names_the_test_and_fits_a_record(log: KernelLog, tmp_path: Path) -> None:
    log.before("x" * 2000)
    text = (tmp_path / "kmsg").read_text()
    assert text.startswith("<5>vfio-hw: xxx")
    assert len(text) <= 1000


def test_a_log_that_can_not_be_opened_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="use a kernel with CONFIG_PRINTK"):
        KernelLog(tmp_path / "absent")


@pytest.mark.skipif(not os.access("/dev/kmsg", os.R_OK | os.W_OK), reason="needs /dev/kmsg")
def test_the_oracles_find_nothing_after_nothing_and_a_planted_leak() -> None:
    oracles = Oracles()
    try:
        oracles.before("nothing")
        assert oracles.after() == []
        oracles.before("a leak")
        descriptor = os.open("/dev/zero", os.O_RDONLY)
        (finding,) = oracles.after()
        os.close(descriptor)
        assert (finding.oracle, finding.title) == (
            "leaks",
            "own open descriptors of /dev/zero: 0 -> 1",
        )
        oracles.before("a program's own text")
        Path("/dev/kmsg").write_text(f"{WARNING}\n")
        assert oracles.after() == []
    finally:
        oracles.close()
