"""This file checks the exit status of a run on this machine, by what pytest and the tests say."""

import argparse

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.here.ending import Ending
from vfio_hw.here.run import _Run
from vfio_hw.host.state import VARIABLE
from vfio_hw.onekernel import KERNEL_WRONG, OK
from vfio_hw.report.events import Result
from vfio_hw.report.place import Place


@pytest.fixture
def status(tmp_path, monkeypatch):
    """Of a run whose pytest ended so, and whose tests had these verdicts."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "state"))
    (tmp_path / "results").mkdir()

    def ended(pytests: int | None, *verdicts: str) -> int:
        with Place.begun(tmp_path / "results") as place:
            run = _Run(argparse.Namespace(device=[]), place, Ending())
            for number, verdict in enumerate(verdicts):
                run._log.write(Result(f"t.py::test_{number}", verdict, 1.0, "").as_event())
            return run._ended(pytests)

    return ended


def test_a_known_find_is_a_failure_to_pytest_only(status):
    assert status(1, "passed", "known") == OK


def test_a_failure_is_the_kernels(status):
    assert status(1, "known", "failed") == KERNEL_WRONG


@pytest.mark.parametrize("pytests", [1, 2, 3, None])
def test_a_pytest_that_did_not_end_well_is_told(status, pytests):
    with pytest.raises(HarnessError, match=f"pytest ended with status {pytests} and left 0 tests"):
        status(pytests, "passed")
