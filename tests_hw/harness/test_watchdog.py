"""This file checks that a test which hangs is told with what is stuck, and costs one verdict."""

import re
import sys
import textwrap
from pathlib import Path

import pytest

from vfio_hw.oracle.splats import splats
from vfio_hw.report.events import EventLog, Result
from vfio_hw.vm.machine import Deadlines, Guest
from vfio_hw.vm.supervisor import Supervisor
from vfio_hw.vm.topology import topology

TESTS = """
    import ctypes, mmap, os, signal
    from vfio_hw.oracle.holders import holders
    from vfio_hw.vfio.opened import opened

    LIBC = ctypes.CDLL(None, use_errno=True)
    LIBC.mmap.restype = ctypes.c_void_p
    LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

    def test_a_mapping_alone_is_a_holder(edu, iommu_mode):
        with opened(edu.path, iommu_mode) as user:
            bar = user.device.region(0)
            shared = mmap.MAP_SHARED, user.device.fileno(), bar.offset
            at = LIBC.mmap(None, bar.size, mmap.PROT_READ, *shared)
            user.device.close()
            mine = [line for line in holders() if line.startswith(f"pid {os.getpid()} ")]
            LIBC.munmap(at, bar.size)
        device = "/dev/vfio/devices/" if iommu_mode == "iommufd" else "anon_inode:[vfio-device]"
        assert [line.split()[3] for line in mine if device in line] == ["mapping"]

    def test_blocks(mtty):
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with opened(mtty.path, "vfio_type1v2_iommu"):
            (mtty.path / "remove").write_text("1")

    def test_spins():
        while True:
            pass

    def test_last():
        pass
"""


@pytest.fixture(scope="module")
def log(kernel, tmp_path_factory) -> EventLog:
    """The record of these tests, each of which may take 8 s, in as many guests as it takes."""
    place = tmp_path_factory.mktemp("watchdog")
    test = place / "unit" / "test_hanging.py"
    test.parent.mkdir()
    test.write_text(textwrap.dedent(TESTS))
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    argv += ["-p", "vfio_hw.plugin", "-p", "vfio_hw.fixtures", f"--rootdir={test.parent}"]
    argv += ["--events=/dev/ttyS1", "--test-deadline=8", str(test)]
    guest = Guest(
        image=kernel.image,
        modules=kernel.modules,
        topology=topology("intel-iommu"),
        argv=argv,
        cwd=Path("/"),
        environment={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "VFIO_HW_GUEST": "1"},
    )
    record = EventLog(place / "events.jsonl")
    Supervisor(
        guest,
        place / "out",
        record,
        deadlines=Deadlines(silence=90.0, whole=240.0, farewell=3.0),
        judge=lambda result: result,
        splats=splats,
        on_result=lambda result: None,
        on_output=lambda data: None,
        most_lost=3,
    ).run()
    return record


@pytest.fixture(scope="module")
def results(log) -> dict[str, Result]:
    """The results by their names; each test has one."""
    named = [(result.test.partition("::")[2], result) for result in log.results()]
    assert len(named) == len(dict(named))
    return dict(named)


@pytest.mark.parametrize(
    "mode",
    [
        "vfio_type1_iommu",
        "vfio_type1v2_iommu",
        "iommufd_compat_type1",
        "iommufd_compat_type1v2",
        "iommufd",
    ],
)
def test_who_has_a_device_mapped_and_no_descriptor_is_a_holder(results, mode):
    assert results[f"test_a_mapping_alone_is_a_holder[{mode}]"].verdict == "passed"


def test_a_test_blocked_in_the_kernel_is_told_with_its_stack_and_the_holder(results):
    hung = results["test_blocks"]
    assert (hung.verdict, hung.oracle) == ("failed", "hang")
    assert "waits in vfio_unregister_group_dev" in hung.findings[0]
    assert "[<0>] vfio_unregister_group_dev+" in hung.text
    stuck = re.search(r"^pid (\d+) thread \1 \(.*\) state D", hung.text, re.MULTILINE)
    assert stuck
    holder = rf"^pid {stuck[1]} \(.*\) descriptor \d+: anon_inode:\[vfio-device\]$"
    assert re.search(holder, hung.text, re.MULTILINE)


def test_the_kernel_itself_tells_of_the_blocked_task(results):
    said = results["test_blocks"].text.partition("sysrq w:")[2]
    assert re.search(r"task:.* state:D", said)
    assert " vfio_unregister_group_dev+" in said


def test_a_test_that_spins_is_told_with_the_line_it_is_at(results):
    hung = results["test_spins"]
    assert (hung.verdict, hung.oracle) == ("failed", "hang")
    assert "the test did not end: " in hung.findings[0]
    assert re.search(r"^pid (\d+) thread \1 \(.*\) state R, runs$", hung.text, re.MULTILINE)
    assert re.search(r"test_hanging\.py.*, line \d+ in test_spins", hung.text)
    assert "NMI backtrace for cpu" in hung.text


def test_the_test_after_a_hang_gets_its_verdict_in_a_fresh_guest(log, results):
    assert results["test_last"].verdict == "passed"
    events = list(log.read())
    assert [event["number"] for event in events if event["event"] == "guest"] == [1, 2, 3]


def test_a_guest_that_hangs_is_ended_soon_after_its_verdict(log):
    ended = [event for event in log.read() if event["event"] == "guest_ended"]
    assert ["unusable" in event["text"] for event in ended] == [True, True, False]
