"""This file checks that a known find excuses its own failure, on its own kernels, and no other."""

from dataclasses import replace

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.report.events import Result
from vfio_hw.report.known import (
    FATAL,
    Known,
    judged,
    killer,
    known_finds,
    spoiler,
    vanished,
)

FIND = Known(
    "map-nothing",
    tests=("t.py::test_map[edu-*]",),
    says=("WARNING in map_range",),
    kernels=("7.3",),
)
FATAL_FIND = replace(FIND, kernels=("6.1", "7.3"), fatal=("7.3",))
KASAN_FIND = replace(FIND, needs="CONFIG_KASAN")
TITLE = "kernel log: WARNING in map_range"


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


def death(oracle, *titles):
    return Result(failure().test, "failed", 0.1, failure().text, oracle, {}, list(titles))


@pytest.mark.parametrize("oracle", FATAL)
@pytest.mark.parametrize("titles", [[], [TITLE]])
def test_the_death_of_the_guest_stays_a_failure(oracle, titles):
    assert judged(death(oracle, *titles), "7.3.4", [FIND]).verdict == "failed"


def test_a_fatal_find_excuses_the_panic_that_its_splat_explains():
    result = judged(death("panic", TITLE), "7.3.4", [FATAL_FIND])
    assert result.verdict == "known"
    assert result.properties["find"] == "map-nothing"


@pytest.mark.parametrize(
    "result",
    [
        death("hang", TITLE),
        death("exit", TITLE),
        death("panic"),
        death("panic", "kernel log: WARNING in another_place"),
        death("panic", TITLE, "kernel log: WARNING in another_place"),
        replace(death("panic", TITLE), test="after t.py::test_map[edu-compat]"),
    ],
)
def test_a_fatal_find_excuses_no_other_death(result):
    assert judged(result, "7.3.4", [FATAL_FIND]).verdict == "failed"


def test_a_test_that_may_kill_a_kernel_is_told_by_its_find():
    finds, test = [FIND, FATAL_FIND], "t.py::test_map[edu-compat]"
    assert killer(test, "7.3.4", finds) == FATAL_FIND
    assert killer(test, "6.1.176", finds) is None
    assert killer("t.py::test_other", "7.3.4", finds) is None


@pytest.mark.parametrize(
    ("find", "spoils", "options"),
    [
        (FIND, True, ()),
        (replace(FIND, kernels=("6.1",)), False, ()),
        (replace(FIND, tests=("t.py::test_other",)), False, ()),
        (replace(FIND, says=("AssertionError: WARNING in map_range",)), False, ()),
        (replace(FIND, says=("assert 0 == 1", "leaks: module kvm: references")), True, ()),
        (replace(FIND, says=(": memory decoding off: 0 -> 1",)), True, ()),
        (replace(FIND, says=("KASAN: slab-use-after-free Read in x",)), False, ()),
        (replace(FIND, says=("KASAN: slab-use-after-free Read in x",)), True, ("CONFIG_KASAN",)),
        (replace(FIND, needs="CONFIG_DEBUG_VM"), False, ()),
    ],
)
def test_a_test_that_a_kernel_is_spoilt_by_is_told_by_its_find(find, spoils, options):
    found = spoiler("t.py::test_map[edu-compat]", "7.3.4", [find], options)
    assert found == (find if spoils else None)


def test_a_find_excuses_the_hangs_that_it_names_and_no_others():
    find = replace(FIND, hangs=("MAP_DMA did not return",))
    hang = replace(death("hang", TITLE), text="hang: VFIO_IOMMU_MAP_DMA did not return within 5 s")
    assert judged(hang, "7.3.4", [find]).verdict == "known"
    assert judged(hang, "7.3.4", [FATAL_FIND]).verdict == "failed"
    other = replace(hang, findings=[TITLE, "leaks: module vfio: references: 0 -> 1"])
    assert judged(other, "7.3.4", [find]).verdict == "failed"
    assert judged(replace(hang, text="hang: close group"), "7.3.4", [find]).verdict == "failed"
    assert judged(replace(hang, test="t.py::test_other"), "7.3.4", [find]).verdict == "failed"


def test_of_a_panic_of_corrupted_memory_the_first_splat_counts():
    find, other = replace(FATAL_FIND, corrupts=True), "kernel log: WARNING in another_place"
    assert judged(death("panic", TITLE, other), "7.3.4", [find]).verdict == "known"
    assert judged(death("panic", other, TITLE), "7.3.4", [find]).verdict == "failed"
    assert judged(death("panic"), "7.3.4", [find]).verdict == "failed"


def test_a_find_that_kills_one_kernel_excuses_no_death_of_another():
    assert judged(death("panic", TITLE), "6.1.176", [FATAL_FIND]).verdict == "failed"
    assert judged(failure(), "6.1.176", [FATAL_FIND]).verdict == "known"


def test_a_fatal_find_is_known_too_where_it_kills_nothing():
    assert judged(failure(), "7.3.4", [FATAL_FIND]).verdict == "known"


def test_a_test_that_passes_stays_passed_and_the_find_has_vanished():
    passed = Result("t.py::test_map[edu-compat]", "passed", 0.1)
    assert judged(passed, "7.3.4", [FIND]) == passed
    assert vanished([passed], "7.3.4", [FIND], {}) == ["map-nothing"]


def test_a_find_has_not_vanished_where_its_test_did_not_run_or_not_only_passed():
    passed = Result("t.py::test_map[edu-a]", "passed", 0.1)
    known = Result("t.py::test_map[edu-b]", "known", 0.1)
    assert vanished([], "7.3.4", [FIND], {}) == []
    assert vanished([passed, known], "7.3.4", [FIND], {}) == []
    assert vanished([passed], "6.1.1", [FIND], {}) == []


def test_a_find_that_this_kernel_can_not_show_has_not_vanished():
    passed = Result("t.py::test_map[edu-compat]", "passed", 0.1)
    assert vanished([passed], "7.3.4", [KASAN_FIND], {}) == []
    assert vanished([passed], "7.3.4", [KASAN_FIND], {"CONFIG_KASAN_GENERIC"}) == []
    assert vanished([passed], "7.3.4", [KASAN_FIND], {"CONFIG_KASAN"}) == ["map-nothing"]


def test_a_find_that_takes_luck_to_see_has_not_vanished_without_it():
    passed = Result("t.py::test_map[edu-compat]", "passed", 0.1)
    assert vanished([passed], "7.3.4", [replace(FIND, chance=True)], {}) == []


def test_every_find_that_is_shipped_can_be_read_and_has_its_page():
    for find in known_finds():
        assert find.tests
        assert find.says
        assert find.kernels


LISTS = 'tests = ["a"]\nsays = ["b"]\nkernels = ["7"]\n'


@pytest.fixture
def described(tmp_path):
    """Reads the find that a text describes, in a tree that has the page of x."""
    for directory in ("fixtures/known", "docs/finds"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "docs" / "finds" / "x.md").touch()

    def read(text, name="x"):
        path = tmp_path / "fixtures" / "known" / f"{name}.toml"
        path.write_text(text)
        return known_finds(path.parent)

    return read


def test_a_description_says_what_is_needed_and_what_is_fatal(described):
    assert described(LISTS) == [Known("x", ("a",), ("b",), ("7",))]
    both = described(f'{LISTS}fatal = ["7"]\nneeds = "CONFIG_KASAN"\n')
    assert both == [Known("x", ("a",), ("b",), ("7",), fatal=("7",), needs="CONFIG_KASAN")]


@pytest.mark.parametrize(
    "text", ["tests = [", 'tests = ["a"]\n', f"{LISTS}deadly = true\n", f"{LISTS}fatal = true\n"]
)
def test_a_description_that_is_none_is_refused(described, text):
    with pytest.raises(HarnessError, match="not the description"):
        described(text)


def test_a_find_without_a_page_is_refused(described):
    with pytest.raises(HarnessError, match="has no page"):
        described(LISTS, name="y")
