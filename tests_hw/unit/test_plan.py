"""This file checks the tests that a host collects for a guest, which imports them in their turn."""

import json
from pathlib import Path

import pytest

from vfio_hw import plan
from vfio_hw.plan import Plan
from vfio_hw.report.events import EventLog

pytest_plugins = ["pytester"]

CONFTEST = """
import pytest

@pytest.fixture
def number():
    return 7
"""
FIRST = """
import pytest

@pytest.mark.promise("P1")
@pytest.mark.parametrize("kind", ["mtty", "edu"])
def test_first(kind, number):
    assert number == 7
"""
# What is imported leaves a trace.
TRACED = "from pathlib import Path\nPath('imported', __name__.rpartition('.')[2]).touch()\n"
OTHER = TRACED + "def test_other(number):\n    assert number == 7\n"
DIRECTORY = "tests_hw/unit"
TESTS = (
    f"{DIRECTORY}/test_b.py::test_other",
    f"{DIRECTORY}/test_a.py::test_first[edu]",
    f"{DIRECTORY}/test_a.py::test_first[mtty]",
)


@pytest.fixture
def project(pytester):
    """Three files of tests, whose fixture is their directory's."""
    directory = Path(DIRECTORY)
    directory.mkdir(parents=True)
    Path("imported").mkdir()
    (directory / "conftest.py").write_text(CONFTEST)
    (directory / "test_a.py").write_text(TRACED + FIRST)
    for name in ("b", "c"):
        (directory / f"test_{name}.py").write_text(OTHER)
    return pytester


def run(project, *options: str) -> list[tuple[str, str]]:
    """Tests and verdicts, in their order."""
    log = EventLog(project.path / "events")
    log.path.write_bytes(b"")
    project.runpytest_subprocess("-p", "vfio_hw.plugin", f"--events={log.path}", *options)
    return [(result.test, result.verdict) for result in log.results()]


def imported() -> set[str]:
    return {path.name for path in Path("imported").iterdir()}


def test_what_was_collected_is_the_plan(project, monkeypatch):
    """With it go the promises, and the files that were read for it, bytecode among them."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    options = ["-p", "vfio_hw.planning", "--plan=plan", "--collect-only", "-k", "first"]
    project.runpytest_subprocess("-p", "vfio_hw.plugin", *options)
    found = plan.read(Path("plan"))
    first = f"{DIRECTORY}/test_a.py::test_first"
    assert found.tests == (f"{first}[mtty]", f"{first}[edu]")
    assert found.promises == {first: ["P1"]}
    names = {Path(file).name.partition(".cpython")[0] for file in found.files}
    assert {"test_a.py", "test_a", "conftest.py", "conftest", "plan.py"} <= names


def test_what_can_not_be_collected_is_not_planned(project):
    Path(DIRECTORY, "test_c.py").write_text("raise ImportError")
    options = ["-p", "vfio_hw.planning", "--plan=plan", "--collect-only"]
    project.runpytest_subprocess("-p", "vfio_hw.plugin", *options)
    assert plan.read(Path("plan")).tests == ()


def test_the_plan_is_followed_and_nothing_else_imported(project):
    Plan(TESTS, {}).write(Path("plan"))
    # The host has obeyed it already.
    assert run(project, "--planned=plan", "-k", "nothing") == [(t, "passed") for t in TESTS]
    assert imported() == {"test_a", "test_b"}


def test_of_the_plan_only_what_is_left_is_run(project):
    Plan(TESTS, {}).write(Path("plan"))
    Path("left").write_text(json.dumps([TESTS[2]]))
    assert run(project, "--planned=plan", "--left=left") == [(TESTS[2], "passed")]
    assert imported() == {"test_a"}


def test_a_file_is_imported_when_its_first_test_comes_next(project):
    """An end before that costs no import: here the first test of all."""
    Plan((*TESTS, f"{DIRECTORY}/test_c.py::test_other"), {}).write(Path("plan"))
    Path(DIRECTORY, "test_b.py").write_text(TRACED + "def test_other():\n    assert False\n")
    assert run(project, "--planned=plan", "-x") == [(TESTS[0], "failed")]
    assert imported() == {"test_a", "test_b"}


def test_a_test_that_is_not_there_is_an_error_and_the_others_run(project):
    gone = f"{DIRECTORY}/test_b.py::test_gone"
    Plan((gone, *TESTS), {}).write(Path("plan"))
    assert run(project, "--planned=plan") == [(gone, "error"), *((t, "passed") for t in TESTS)]


def test_why_a_file_can_not_be_imported_is_told(project):
    Path(DIRECTORY, "test_b.py").write_text("raise ImportError('no such thing')")
    Plan(TESTS, {}).write(Path("plan"))
    assert run(project, "--planned=plan")[0] == (TESTS[0], "error")
    assert "no such thing" in Path("events").read_text()
