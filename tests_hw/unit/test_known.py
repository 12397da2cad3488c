"""This file checks that a known find excuses its own failure, on its own kernels, and no other."""

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.report.events import Result
from vfio_hw.report.known import Known, judged, known_finds, vanished

FIND = Known(
    "map-nothing",
    tests=("t.py::test_map[edu-*]",),
    says=("WARNING in map_range",),
    kernels=("7.3",),
)


def failure(test="t.py::test_map[edu-compat]", text="kernel log: WARNING in map_range\n..."):
    return Result(test, "failed", 0.1, text, "kernel log")


def test_the_find_is_reported_as_known_by_name():
    result = judged(failure(), "7.3.4", [FIND])
    assert result.verdict == "known"
    assert result.properties["find"] == "map-nothing"


@pytest.mark.parametrize(
    ("result", "release"),
    [
        (failure(), "6.12.107"),
        (failure(), "7.31.1"),
        (failure(test="t.py::test_map[nvme-compat]"), "7.3.4"),
        (failure(text="kernel log: WARNING in another_place\n..."), "7.3.4"),
    ],
)
def test_another_kernel_test_or_splat_stays_a_failure(result, release):
    assert judged(result, release, [FIND]).verdict == "failed"


def test_another_fault_beside_it_stays_a_failure():
    titles = ["kernel log: WARNING in map_range", "leaks: module vfio: references: 0 -> 1"]
    both = Result(failure().test, "failed", 0.1, failure().text, "kernel log", {}, titles)
    assert judged(both, "7.3.4", [FIND]).verdict == "failed"
    alone = Result(failure().test, "failed", 0.1, "", "kernel log", {}, titles[:1])
    assert judged(alone, "7.3.4", [FIND]).verdict == "known"


def test_the_death_of_the_guest_stays_a_failure():
    dead = Result(failure().test, "failed", 0.1, failure().text, "panic")
    assert judged(dead, "7.3.4", [FIND]).verdict == "failed"


def test_a_test_that_passes_stays_passed_and_the_find_has_vanished():
    passed = Result("t.py::test_map[edu-compat]", "passed", 0.1)
    assert judged(passed, "7.3.4", [FIND]) == passed
    assert vanished([passed], "7.3.4", [FIND]) == ["map-nothing"]


def test_a_find_has_not_vanished_where_its_test_did_not_run_or_not_only_passed():
    passed = Result("t.py::test_map[edu-a]", "passed", 0.1)
    known = Result("t.py::test_map[edu-b]", "known", 0.1)
    assert vanished([], "7.3.4", [FIND]) == []
    assert vanished([passed, known], "7.3.4", [FIND]) == []
    assert vanished([passed], "6.1.1", [FIND]) == []


def test_every_find_that_is_shipped_can_be_read_and_has_its_page():
    for find in known_finds():
        assert find.tests
        assert find.says
        assert find.kernels


def test_a_find_without_a_page_is_refused(tmp_path):
    directory = tmp_path / "fixtures" / "known"
    directory.mkdir(parents=True)
    (directory / "x.toml").write_text('tests = ["a"]\nsays = ["b"]\nkernels = ["7"]\n')
    with pytest.raises(HarnessError, match="has no page"):
        known_finds(directory)
