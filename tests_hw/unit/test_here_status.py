"""This file checks the exit status of a run on this machine, by what pytest and the tests say."""

import argparse
from collections.abc import Sequence

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

    def ended(pytests: int | None, *verdicts: str, left: Sequence[str] = ()) -> int:
        with Place.begun(tmp_path / "results") as place:
            run = _Run(argparse.Namespace(device=[]), place, Ending())
            run._planned = list(left)
            for number, verdict in enumerate(verdicts):
                run._log.write(Result(f"t.py::test_{number}", verdict, 1.0, "").as_event())
            return run._ended(pytests)

    return ended


@pytest.mark.parametrize("pytests", [1, 2])
def test_a_known_find_is_a_failure_to_pytest_only(status, pytests):
    """After which it stops, where no further test is given to the kernel."""
    assert status(pytests, "passed", "known") == OK


def test_what_is_left_after_a_known_find_is_told(status):
    with pytest.raises(HarnessError, match="pytest ended with status 2 and left 1 tests"):
        status(2, "known", left=["t.py::test_left"])


def test_a_failure_is_the_kernels(status):
    assert status(1, "known", "failed") == KERNEL_WRONG


@pytest.mark.parametrize("pytests", [1, 2, 3, None])
def test_a_pytest_that_did_not_end_well_is_told(status, pytests):
    with pytest.raises(HarnessError, match=f"pytest ended with status {pytests} and left 0 tests"):
        status(pytests, "passed")
