"""This file checks what a result tells: calls of a test that passed, faults of one that failed."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from vfio_hw.oracle import Finding
from vfio_hw.report.events import EventLog
from vfio_hw.verdict import Course

pytest_plugins = ["pytester"]

TESTS = """
import os
import pytest
from vfio_hw.uapi import ioctl_errno

def refused(request):
    with open("/dev/null") as null:
        assert ioctl_errno(null.fileno(), request)[1]

@pytest.fixture(params=["edu"])
def device():
    refused("VFIO_DEVICE_GET_INFO")

def test_fails():
    refused("VFIO_GET_API_VERSION")
    assert False

def test_skips():
    refused("VFIO_GET_API_VERSION")
    pytest.skip("no such thing")

def test_passes(device):
    refused("VFIO_DEVICE_RESET")

def test_calls_nothing():
    pass
"""


@pytest.fixture
def told(pytester) -> dict[str, dict[str, list[str]]]:
    """By test what its event says of the tests above, which ran one after the other."""
    path = Path("tests_hw", "unit", "test_it.py")
    path.parent.mkdir(parents=True)
    path.write_text(TESTS)
    log = EventLog(pytester.path / "events")
    log.path.touch()
    pytester.runpytest_inprocess("-p", "vfio_hw.plugin", f"--events={log.path}")
    return {result.test.rpartition("::")[2]: result.judged for result in log.results()}


def test_a_test_that_passed_tells_of_its_calls_and_of_no_other_tests(told):
    assert told == {
        "test_fails": {},
        "test_skips": {},
        "test_passes[edu]": {
            "kinds": ["edu"],
            "refused": ["VFIO_DEVICE_GET_INFO", "VFIO_DEVICE_RESET"],
        },
        "test_calls_nothing": {},
    }


def test_what_the_test_says_stands_beside_what_the_oracles_found():
    """Else whatever is known of the one would excuse the other."""
    course, words = Course(findings=[Finding("leaks", "module x", "")]), "assert 0 == 22"
    course.take(pytest.TestReport("t", ("t", 0, "t"), {}, "failed", words, "call"), None)
    course.take(pytest.TestReport("t", ("t", 0, "t"), {}, "failed", "leaks", "teardown"), None)
    result = course.result(SimpleNamespace(nodeid="t", user_properties=[]), 0.1)
    assert result.findings == ["leaks: module x", "assertion: assert 0 == 22"]


def test_only_files_with_tests_that_are_left_are_imported(pytester):
    """Of those, only the tests that are left run, whatever else selects tests."""
    directory = Path("tests_hw", "unit")
    directory.mkdir(parents=True)
    (directory / "test_it.py").write_text("def test_a(): pass\ndef test_b(): pass\n")
    (directory / "test_done.py").write_text("raise ImportError")
    Path("left").write_text('["tests_hw/unit/test_it.py::test_b"]')
    run = pytester.runpytest_inprocess("-p", "vfio_hw.plugin", "--left=left", "--quick", "-v")
    run.assert_outcomes(passed=1)
    run.stdout.fnmatch_lines(["*::test_b PASSED*"])
