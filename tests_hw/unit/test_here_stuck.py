"""This file checks what becomes of a run whose pytest the kernel does not let go."""

import argparse

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.here import running
from vfio_hw.here.child import Stuck
from vfio_hw.here.ending import Ending
from vfio_hw.here.run import _Run
from vfio_hw.host.state import VARIABLE, State
from vfio_hw.onekernel import KERNEL_WRONG
from vfio_hw.report.events import Result
from vfio_hw.report.place import Place

STUCK = "the kernel does not let pytest go, pid 7"


def test_the_kernel_is_to_blame_and_gets_no_other_test(tmp_path, monkeypatch, capsys):
    """Its watchdog has told by then what it hangs in; when it has not, nobody is known to blame."""

    def followed():
        raise Stuck(f"{STUCK}: see its stack")

    monkeypatch.setenv(VARIABLE, str(tmp_path / "state"))
    (tmp_path / "results").mkdir()
    with Place.begun(tmp_path / "results") as place:
        run = _Run(argparse.Namespace(), place, Ending())
        monkeypatch.setattr(run, "_followed", followed)
        with pytest.raises(HarnessError, match=STUCK):
            run.lived()
        assert run.stuck
        run._log.write(Result("t.py::test_x", "failed", 1.0, "text", "hang").as_event())
        assert run.lived() == KERNEL_WRONG
    assert STUCK in capsys.readouterr().out
    state = State()
    with pytest.raises(HarnessError, match=f"{STUCK}: this kernel is given no further test"):
        running.must_be_trusted(state)
    state.close()
