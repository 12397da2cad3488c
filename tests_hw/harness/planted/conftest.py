"""What the tests need that plant a fault: the faults of the kernel's own module, and an oracle."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from vfio_hw.host import kconfig, modules
from vfio_hw.oracle.leaks import Leaks

CRASH = Path("/sys/kernel/debug/provoke-crash/DIRECT")


@pytest.fixture(scope="session", autouse=True)
def loaded():
    for name in ("vfio-pci", "vfio_iommu_type1", "mtty", "mdpy", "mbochs"):
        modules.load(name)


@pytest.fixture
def caught():
    """Puts an oracle round a fault and returns the titles that it found.

    ``plant`` makes the fault and returns what takes it back; then the oracle must be content again.
    """

    def run(oracle, plant: Callable[[], Callable[[], object]]) -> list[str]:
        oracle.before("planted")
        undo = plant()
        titles = [finding.title for finding in oracle.after()]
        undo()
        oracle.before("nothing planted")
        assert oracle.after() == [], "the fault is still there after it was taken back"
        return titles

    return run


@pytest.fixture
def leaks() -> Leaks:
    """The oracle for leaks, which does not wait long."""
    return Leaks(grace=0.5, alone=True)


@pytest.fixture
def crash() -> Callable[[str], None]:
    """Asks the kernel for one of the faults of LKDTM, from a child, which may not survive it.

    Source: Documentation/fault-injection/provoke-crashes.rst.
    """
    modules.load("lkdtm")

    def run(kind: str) -> None:
        child = os.fork()
        if child == 0:
            try:
                CRASH.write_text(kind)
            finally:
                os._exit(0)
        os.waitpid(child, 0)

    return run


@pytest.fixture
def survives_oopses():
    """An oops kills the process that caused it, and not the machine."""
    switch = Path("/proc/sys/kernel/panic_on_oops")
    before = switch.read_text()
    switch.write_text("0")
    yield
    switch.write_text(before)


@pytest.fixture
def needs():
    """Skips the test on a kernel without an option."""

    def check(option: str) -> None:
        if option and option not in (kconfig.options() or ()):
            pytest.skip(f"this kernel is built without {option}")

    return check


@pytest.fixture
def stopped_child():
    """A child that does nothing, ended after the test; yields what makes it."""
    pids = []

    def make(life: Callable[[], object] = signal.pause) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                life()
            finally:
                os._exit(0)
        pids.append(pid)
        return pid

    yield make
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
