"""This file checks that a kernel that has ceased to look for faults is not taken for sound."""

from pathlib import Path

import pytest

from vfio_hw import oracle
from vfio_hw.errors import HarnessError
from vfio_hw.oracle import Oracles
from vfio_hw.oracle.kernel_log import KernelLog, Record

OFF = "ODEBUG: Out of memory. ODEBUG disabled"
WARNING = "WARNING: a.c:1 at sample_first+0x1/0x10, CPU#0: sh/1"


class Quiet:
    """An oracle that finds nothing."""

    def __init__(self, **kwargs: bool) -> None: ...
    def before(self, test: str) -> None: ...
    def close(self) -> None: ...
    def after(self) -> list[oracle.Finding]:
        return []


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the kernel logs until it is read."""
    (tmp_path / "kmsg").touch()
    lines: list[str] = []

    def records(log: KernelLog) -> list[Record]:
        found = [Record(0, number, line) for number, line in enumerate(lines)]
        lines.clear()
        log._sequence = None
        return found

    monkeypatch.setattr(KernelLog, "_records", records)
    monkeypatch.setattr(oracle, "KernelLog", lambda since_boot: KernelLog(tmp_path / "kmsg"))
    for name in ("Hangs", "Leaks", "Kmemleak"):
        monkeypatch.setattr(oracle, name, Quiet)
    return lines


def test_debug_objects_that_gave_up_are_told_once_and_are_no_fault_of_the_kernel(
    said: list[str],
) -> None:
    oracles = Oracles()
    oracles.before("a test")
    said.append(OFF)
    with pytest.raises(HarnessError, match="give the machine more memory"):
        oracles.after()
    oracles.before("another")
    assert oracles.after() == []


def test_a_fault_is_told_before_it_is_said_that_no_more_will_be(said: list[str]) -> None:
    oracles = Oracles()
    said.append(OFF)
    oracles.before("a test")
    said.append(WARNING)
    assert [each.title for each in oracles.after()] == ["WARNING in sample_first"]
    with pytest.raises(HarnessError):
        oracles.after()


def test_what_debug_objects_report_otherwise_silences_nobody(said: list[str]) -> None:
    oracles = Oracles()
    oracles.before("a test")
    said.append("ODEBUG: object 1 is on stack 2, but NOT annotated.")
    assert oracles.after() == []
