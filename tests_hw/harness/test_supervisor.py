"""This file checks that a guest that dies costs one verdict: none is lost, none counted twice."""

import textwrap

import pytest

from vfio_hw.oracle.splats import splats
from vfio_hw.report.events import EventLog
from vfio_hw.vm.machine import Deadlines
from vfio_hw.vm.supervisor import Supervisor

TESTS = """
    import os, time
    from pathlib import Path

    def test_first():
        assert os.environ["VFIO_HW_GUEST"]

    def test_deadly():
        {deadly}

    def test_last():
        pass
"""


@pytest.fixture
def supervised(guest, python, tmp_path):
    """Runs the three tests, of which the second does something deadly, to the end."""

    def run(deadly: str, **options):
        unit = tmp_path / "unit"
        unit.mkdir()
        test = unit / "test_three.py"
        test.write_text(textwrap.dedent(TESTS).format(deadly=deadly))
        argv = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "vfio_hw.plugin"]
        argv += [f"--rootdir={unit}", "--events=/dev/ttyS1", str(test)]
        out = tmp_path / "out"
        log = EventLog(tmp_path / "events.jsonl")
        supervisor = Supervisor(
            guest(argv),
            out,
            log,
            deadlines=Deadlines(silence=options.pop("silence", 30.0), whole=120.0),
            judge=lambda result: result,
            splats=splats,
            on_result=lambda result: None,
            on_output=lambda data: None,
            most_lost=options.pop("most_lost", 3),
        )
        ended = supervisor.run()
        results = [(r.test.partition("::")[2], r.verdict, r.oracle) for r in log.results()]
        return ended, results

    return run


def test_a_panic_costs_one_verdict_and_the_rest_goes_on_in_a_fresh_guest(supervised):
    ended, results = supervised('Path("/proc/sysrq-trigger").write_text("c")')
    assert results == [
        ("test_first", "passed", ""),
        ("test_deadly", "failed", "panic"),
        ("test_last", "passed", ""),
    ]
    assert ended.guests == 2
    assert not ended.left


RESET = """from vfio_hw.host import hypervisor, modules
    modules.load_available(["virtio_console"])
    with hypervisor.reached() as qemu:
        qemu.reset()"""


def test_a_reset_that_a_test_asks_for_is_no_verdict_on_the_kernel(supervised):
    ended, results = supervised(RESET, most_lost=1)
    assert results == [
        ("test_first", "passed", ""),
        ("test_deadly", "passed", ""),
        ("test_last", "passed", ""),
    ]
    assert (ended.guests, ended.status) == (2, 0)


def test_a_hang_costs_one_verdict(supervised):
    ended, results = supervised("time.sleep(1000)", silence=20.0)
    assert [verdict for _, verdict, _ in results] == ["passed", "failed", "passed"]
    assert ended.guests == 2


def test_a_test_that_kills_its_process_is_an_error_and_the_rest_goes_on(supervised):
    ended, results = supervised("os.kill(os.getpid(), 9)")
    assert [verdict for _, verdict, _ in results] == ["passed", "error", "passed"]
    assert ended.guests == 2


def test_too_many_lost_guests_end_the_run_and_what_is_left_is_told(supervised):
    ended, results = supervised('Path("/proc/sysrq-trigger").write_text("c")', most_lost=1)
    assert [verdict for _, verdict, _ in results] == ["passed", "failed"]
    assert [test.partition("::")[2] for test in ended.left] == ["test_last"]
