"""This file checks the exit status of vfio-hw coverage when no counters came, and of lost ones."""

import argparse
from collections import Counter

import pytest

from vfio_hw import run
from vfio_hw.coverage import command
from vfio_hw.coverage.counts import Coverage, Lines
from vfio_hw.errors import HarnessError
from vfio_hw.vm import machine
from vfio_hw.vm.outcome import Ending


@pytest.fixture
def status_of(tmp_path, monkeypatch):
    """What becomes of the status of a run of which nothing was counted."""

    def told(status):
        monkeypatch.setattr(command, "_require_counters", lambda args: None)
        monkeypatch.setattr(command, "_tests", lambda args, out: status)
        options = {"compare": None, "read": None, "instead": False, "resume": None}
        return command.coverage(argparse.Namespace(results=tmp_path / "results", **options))

    return told


@pytest.mark.parametrize("status", [run.KERNEL_WRONG, run.USAGE, run.HARNESS_WRONG, 130])
def test_what_went_wrong_is_told_when_no_counters_came(status_of, status):
    assert status_of(status) == status


def test_a_run_that_went_well_and_counted_nothing_is_an_error(status_of):
    with pytest.raises(HarnessError, match="no guest has sent what it counted"):
        status_of(run.OK)


def test_only_a_kernel_that_died_or_hangs_is_to_blame_for_the_end_of_its_guest():
    blamed = {ending for ending in machine.Ending if ending.of_kernel}
    assert blamed == {Ending.PANICKED, Ending.HUNG}


@pytest.fixture
def read(tmp_path, capsys):
    """Tells of earlier runs, each a file's counts and its source; the first line that is said."""

    def told(*runs):
        paths = [tmp_path / f"{number}.json" for number, _ in enumerate(runs)]
        for path, (counts, source) in zip(paths, runs, strict=True):
            Coverage({"drivers/vfio/group.c": Lines(Counter(counts))}, source).write(path)
        args = argparse.Namespace(compare=None, read=paths, json=None, uncovered=[])
        assert command.coverage(args) == run.OK
        out = capsys.readouterr().out.splitlines()
        return next(" ".join(line.split()) for line in out if "group.c" in line)

    return told


def test_what_a_run_on_another_machine_reached_is_reached(read):
    one, other = ({1: 2, 2: 0, 3: 0}, "/source"), ({1: 1, 2: 1, 3: 0}, "/source")
    assert read(one).endswith("3 1 33.3 %")
    assert read(one, other).endswith("3 2 66.7 %")


def test_runs_of_different_sources_are_not_told_together(read):
    with pytest.raises(
        HarnessError, match=r"1\.json is of another source, /b, .* name runs of one"
    ):
        read(({1: 2}, "/a"), ({1: 2}, "/b"))
