"""This file checks how what gcov tells is taken, added up, written and read again."""

import json

import pytest

from vfio_hw.coverage import counts
from vfio_hw.coverage.counts import Coverage, Function, Lines
from vfio_hw.errors import HarnessError


@pytest.fixture
def source(tmp_path):
    for name in ("drivers/vfio/group.c", "drivers/vfio/vfio.h", "virt/kvm/vfio.c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def document(file, directory, *lines, functions=()):
    """What gcov --json-format prints of one object."""
    named = [{"name": n, "start_line": a, "end_line": b} for n, a, b in functions]
    counted = [{"line_number": line, "count": count} for line, count in lines]
    entry = {"file": str(file), "functions": named, "lines": counted}
    return {"current_working_directory": str(directory), "files": [entry]}


def test_counts_of_a_line_that_is_in_several_functions_are_added(source):
    told = counts.told(document("drivers/vfio/group.c", source, (7, 0), (7, 2), (8, 0)), source)
    assert told.files["drivers/vfio/group.c"].counts == {7: 2, 8: 0}


@pytest.mark.parametrize(
    "written",
    ["{source}/drivers/vfio/group.c", "../{name}/drivers/vfio/group.c", "drivers/vfio/group.c"],
)
def test_a_file_has_its_name_in_the_source_however_the_compiler_wrote_it(source, written):
    objects = source.parent / "objects"
    file = written.format(source=source, name=source.name)
    told = counts.told(document(file, objects, (1, 1)), source)
    assert list(told.files) == ["drivers/vfio/group.c"]


def test_a_path_through_another_directory_is_the_same_file(source):
    file = "arch/x86/kvm/../../../virt/kvm/vfio.c"
    assert list(counts.told(document(file, source, (1, 1)), source).files) == ["virt/kvm/vfio.c"]


@pytest.mark.parametrize("file", ["drivers/vfio/vfio.h", "/usr/include/stdio.c", "made/here.c"])
def test_headers_and_what_is_not_in_the_source_are_left_out(source, file):
    assert not counts.told(document(file, source, (1, 1)), source).files


def test_what_one_guest_reached_and_another_did_not_is_reached():
    one = Coverage({"a.c": Lines(counts.Counter({1: 0, 2: 3}), {Function("f", 1, 2)})}, "/source")
    one.add(
        Coverage({"a.c": Lines(counts.Counter({1: 1, 2: 4})), "b.c": Lines(counts.Counter({9: 0}))})
    )
    assert one.files["a.c"].counts == {1: 1, 2: 7}
    assert one.files["a.c"].functions == {Function("f", 1, 2)}
    assert one.files["b.c"].counts == {9: 0}
    assert one.source == "/source"


def test_lines_that_never_ran_are_still_lines():
    lines = Lines()
    lines.add(Lines(counts.Counter({1: 0, 2: 1})))
    assert (lines.total, lines.reached) == (2, 1)


def test_a_record_is_read_as_it_was_written(tmp_path):
    lines = Lines(counts.Counter({10: 0, 2: 5}), {Function("f", 1, 12), Function("g", 14, 20)})
    written = Coverage({"drivers/vfio/group.c": lines}, "/source")
    written.write(tmp_path / "coverage.json")
    assert counts.read(tmp_path / "coverage.json") == written


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": {"a.c": 1}, "source": ""}'])
def test_something_else_is_no_record(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(HarnessError, match=r"x\.json is no coverage: name a coverage\.json"):
        counts.read(tmp_path / "x.json")


def test_a_record_keeps_its_lines_in_order(tmp_path):
    Coverage({"a.c": Lines(counts.Counter({10: 1, 9: 1}))}).write(tmp_path / "x.json")
    assert list(json.loads((tmp_path / "x.json").read_text())["files"]["a.c"]["lines"]) == [
        "9",
        "10",
    ]
