"""This file checks that the oracles see faults which a guest really has, each by its title.

What plants them is in planted/, whose files are named so that nobody collects them by accident.
"""

import dataclasses
from pathlib import Path

import pytest

from vfio_hw.oracle.splats import splats
from vfio_hw.report.events import EventLog
from vfio_hw.vm import kernels
from vfio_hw.vm.machine import Deadlines
from vfio_hw.vm.supervisor import Supervisor

PLANTED = Path(__file__).parent / "planted"
PROJECT = Path(__file__).parents[2]
DEBUG = "latest-debug"


@pytest.fixture
def supervised(guest, python, tmp_path):
    """Runs planted tests in as many guests as it takes; the results by the names of the tests."""

    def run(files, *options, booted=None):
        argv = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--events=/dev/ttyS1"]
        argv += [*options, *(str(PLANTED / file) for file in files)]
        log = EventLog(tmp_path / "events.jsonl")
        made = dataclasses.replace(guest(argv), cwd=PROJECT)
        if booted:
            made = dataclasses.replace(made, image=booted.image, modules=booted.modules)
        Supervisor(
            made,
            tmp_path / "out",
            log,
            deadlines=Deadlines(silence=120.0, whole=600.0),
            judge=lambda result: result,
            splats=splats,
            on_result=lambda result: None,
            on_output=lambda data: None,
            most_lost=10,
        ).run()
        return {result.test.partition("::")[2] or result.test: result for result in log.results()}

    return run


def test_every_planted_fault_is_seen(supervised):
    results = supervised(["leaks.py", "leftovers.py", "faults.py"])
    wrong = {name: r.text for name, r in of_tests(results).items() if r.verdict != "passed"}
    skipped = {name for name in wrong if results[name].verdict == "skipped"}
    assert not {name: wrong[name] for name in wrong.keys() - skipped}
    assert len(of_tests(results)) - len(skipped) >= 25
    assert all("this kernel is built without" in wrong[name] for name in skipped)


def test_what_only_a_debug_kernel_reports_is_seen(supervised):
    kernel = next((kernel for kernel in kernels.built() if kernel.name == DEBUG), None)
    if kernel is None:
        pytest.skip(f"{DEBUG} is not built: vfio-hw kernel build {DEBUG}")
    results = supervised(["faults.py"], booted=kernel)
    wrong = {name: r.text for name, r in of_tests(results).items() if r.verdict != "passed"}
    assert not wrong
    assert "test_lost_memory" in results


def test_verdicts_tell_what_was_found(supervised):
    own_root = [f"--rootdir={PLANTED}", f"--confcutdir={PLANTED}"]
    plugins = ["-p", "vfio_hw.plugin", "-p", "vfio_hw.fixtures"]
    results = supervised(["verdicts.py"], *own_root, *plugins)
    verdicts = {name: result.verdict for name, result in results.items()}
    assert verdicts == {
        "test_a_leak_and_a_warning": "failed",
        "test_a_mediated_device_is_left": "failed",
        "test_the_end_of_the_kernel": "failed",
        "test_a_fault_that_was_declared_and_does_not_come": "failed",
        "test_what_was_declared_is_not_owed_by_a_test_that_is_skipped": "skipped",
        "test_nothing_is_wrong": "passed",
    }
    found = {name: result.findings for name, result in results.items()}
    assert "kernel log: WARNING in lkdtm_WARNING" in found["test_a_leak_and_a_warning"]
    descriptors = [title for title in found["test_a_leak_and_a_warning"] if "/dev/vfio/" in title]
    assert descriptors[0].startswith("leaks: own open descriptors of /dev/vfio/")
    left = "leaks: mdev type mtty-2 of mtty: devices: 1 more"
    assert left in found["test_a_mediated_device_is_left"]
    assert results["test_the_end_of_the_kernel"].oracle == "panic"
    assert found["test_the_end_of_the_kernel"] == ["kernel log: kernel BUG in lkdtm_BUG"]
    declared = found["test_a_fault_that_was_declared_and_does_not_come"]
    assert declared == ["kernel log: no IOMMU fault came"]


def of_tests(results):
    """The results without those of the guest as a whole, whose console has all the faults."""
    return {name: result for name, result in results.items() if name.startswith("test_")}
