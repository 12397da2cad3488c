"""Each test here makes the kernel report a fault, which the oracle must name (P9).

Those that only a debug kernel reports are skipped on others.
"""

import os
import time
from pathlib import Path

import pytest

from vfio_hw.host import modules
from vfio_hw.oracle.iommu_faults import Faults
from vfio_hw.oracle.kernel_log import KernelLog
from vfio_hw.oracle.kmemleak import Kmemleak
from vfio_hw.uapi import lib
from vfio_hw.vfio.config import Config
from vfio_hw.vfio.opened import opened

MODE = "vfio_type1v2_iommu"
PATIENCE = 20.0
# Registers and memory of edu, in QEMU's docs/specs/edu.rst: it copies from an iova into itself.
SOURCE, DESTINATION, COUNT, COMMAND, OWN_MEMORY = 0x80, 0x88, 0x90, 0x98, 0x40000

KASAN, UBSAN, USERCOPY = "CONFIG_KASAN", "CONFIG_UBSAN_BOUNDS", "CONFIG_HARDENED_USERCOPY"
LKDTM = [
    ("WARNING", "", "WARNING in lkdtm_WARNING"),
    ("WARNING_MESSAGE", "", "WARNING in lkdtm_WARNING_MESSAGE"),
    ("BUG", "", "kernel BUG in lkdtm_BUG"),
    # Code that KASAN has instrumented looks up the shadow of the address first, where nothing is.
    (
        "ACCESS_NULL",
        "",
        (
            "BUG: unable to handle kernel NULL pointer dereference in lkdtm_ACCESS_NULL",
            "general protection fault in lkdtm_ACCESS_NULL",
        ),
    ),
    ("CORRUPT_LIST_ADD", "", "BUG: corrupted list in lkdtm_CORRUPT_LIST_ADD"),
    ("CORRUPT_LIST_DEL", "", "BUG: corrupted list in lkdtm_CORRUPT_LIST_DEL"),
    ("REFCOUNT_INC_ZERO", "", "WARNING: refcount bug in lkdtm_REFCOUNT_INC_ZERO"),
    ("REFCOUNT_DEC_ZERO", "", "WARNING: refcount bug in lkdtm_REFCOUNT_DEC_ZERO"),
    ("REFCOUNT_SUB_AND_TEST_NEGATIVE", "", "WARNING: refcount bug in"),
    ("ARRAY_BOUNDS", UBSAN, "UBSAN: array-index-out-of-bounds in lkdtm_ARRAY_BOUNDS"),
    ("USERCOPY_SLAB_SIZE_TO", USERCOPY, "BUG: bad usercopy in do_usercopy_slab_size"),
    # KASAN reports once: then it is silent until the next boot.
    ("READ_AFTER_FREE", KASAN, "KASAN: slab-use-after-free Read in lkdtm_READ_AFTER_FREE"),
]


@pytest.fixture
def log():
    opened_log = KernelLog()
    yield opened_log
    opened_log.close()


def titles(log, faults: Faults = Faults.NONE, of: str | None = None) -> list[str]:
    return [finding.title for finding in log.after(faults=faults, of=of)]


def test_a_task_that_hangs(log):
    """The child waits for ever, and no signal ends that: it ends with the guest."""
    modules.load("lkdtm")
    timeout = Path("/proc/sys/kernel/hung_task_timeout_secs")
    before = timeout.read_text()
    timeout.write_text("2")
    log.before("planted")
    if os.fork() == 0:
        Path("/sys/kernel/debug/provoke-crash/DIRECT").write_text("HUNG_TASK")
    end = time.monotonic() + PATIENCE
    found: list[str] = []
    while not found and time.monotonic() < end:
        time.sleep(0.2)
        found = titles(log)
    # It hangs on, and has been told of.
    Path("/proc/sys/kernel/hung_task_warnings").write_text("0")
    timeout.write_text(before)
    assert found == ["INFO: task hung in lkdtm_HUNG_TASK"]


@pytest.fixture
def reach(edu):
    """Lets the device read memory that nobody has mapped for it."""

    def run() -> None:
        with opened(edu.path, MODE) as user:
            Config(user.device.region(lib.VFIO_PCI_CONFIG_REGION_INDEX)).enable_master()
            registers = user.device.region(lib.VFIO_PCI_BAR0_REGION_INDEX)
            for register, value in ((SOURCE, 0x10000), (DESTINATION, OWN_MEMORY), (COUNT, 16)):
                registers.put(register, 8, value)
            registers.put(COMMAND, 8, 1)
            end = time.monotonic() + PATIENCE
            while registers.get(COMMAND, 8) & 1:
                assert time.monotonic() < end, "edu did not end its copy"

    return run


def test_an_iommu_fault(log, reach):
    log.before("planted")
    reach()
    time.sleep(0.2)
    (title,) = titles(log)
    assert title.startswith("IOMMU fault: DMA Read, "), title


def test_a_declared_iommu_fault_is_none_and_must_come(log, reach, edu):
    for _ in range(3):  # more than the kernel logs at a time
        log.before("declared", faults=Faults.MAY)
        reach()
        assert titles(log, Faults.MUST, edu.address) == []
    log.before("declared", faults=Faults.MAY)
    assert titles(log, Faults.MUST, edu.address) == ["no IOMMU fault came"]


def test_lost_memory(needs):
    needs("CONFIG_DEBUG_KMEMLEAK")
    oracle = Kmemleak()
    assert oracle.works
    modules.load("kmemleak-test")
    (finding,) = oracle.found("planted")["planted"]
    # The module's init function is gone as soon as it has run.
    assert finding.title in (
        "unreferenced object in kmemleak_test_init",
        "unreferenced object in discarded code under do_one_initcall",
    )
    assert "backtrace" in finding.text
    assert oracle.found("later") == {}, "the same objects are reported once"


def test_a_lock_that_is_kept(needs, log, crash):
    needs("CONFIG_PROVE_LOCKING")
    log.before("planted")
    crash("SPINLOCKUP")  # it takes a lock, and would only wait for it the second time
    assert "WARNING: lock held when returning to user space in lkdtm_SPINLOCKUP" in titles(log)


# After an oops neither hung tasks nor locks are judged any more: this comes last.
@pytest.mark.parametrize(("kind", "option", "title"), LKDTM, ids=[kind for kind, _, _ in LKDTM])
def test_a_fault_of_the_kernel(needs, log, crash, survives_oopses, kind, option, title):
    needs(option)
    log.before("planted")
    crash(kind)
    found = titles(log)
    assert found and found[0].startswith(title), found
