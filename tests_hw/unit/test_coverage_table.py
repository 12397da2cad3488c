"""This file checks what a person is told of a coverage."""

import pytest

from vfio_hw.coverage import table
from vfio_hw.coverage.counts import Counter, Coverage, Function, Lines
from vfio_hw.errors import HarnessError

GROUP, MTTY, KVM = "drivers/vfio/group.c", "samples/vfio-mdev/mtty.c", "virt/kvm/vfio.c"


def coverage(source="", **files):
    of = {"group": GROUP, "mtty": MTTY, "kvm": KVM}
    return Coverage({of[n]: Lines(Counter(counts)) for n, counts in files.items()}, str(source))


def test_each_file_and_each_directory_has_its_figures():
    both = coverage(group={1: 1, 2: 0, 3: 5, 4: 1}, mtty={1: 0, 2: 1}, kvm={1: 1})
    assert [line.split() for line in table.table(both)] == [
        ["file", "lines", "reached"],
        [GROUP, "4", "3", "75.0", "%"],
        [MTTY, "2", "1", "50.0", "%"],
        [KVM, "1", "1", "100.0", "%"],
        ["drivers/vfio", "together", "4", "3", "75.0", "%"],
        ["samples/vfio-mdev", "together", "2", "1", "50.0", "%"],
        ["all", "together", "7", "5", "71.4", "%"],
    ]


def test_a_directory_of_which_nothing_was_counted_has_no_percentage():
    assert "samples/vfio-mdev together      0      0     - %" in table.table(coverage(kvm={1: 1}))


def test_two_runs_stand_side_by_side_with_a_gap_where_one_lacks_a_file():
    one, other = coverage(group={1: 1, 2: 0}), coverage(group={1: 1, 2: 2}, kvm={1: 0})
    lines = [" ".join(line.split()) for line in table.compared(one, other, ("ours", "theirs"))]
    assert lines[0] == "reached of lines ours theirs"
    assert lines[1] == f"{GROUP} 1 of 2 50.0 % 2 of 2 100.0 %"
    assert lines[2] == f"{KVM} - 0 of 1 0.0 %"


def test_what_nobody_reached_is_told_with_its_text(tmp_path):
    path = tmp_path / GROUP
    path.parent.mkdir(parents=True)
    path.write_text("int f(void)\n{\n\treturn -EINVAL;\n}\nint g(void)\n{\n\treturn 0;\n}\n")
    found = coverage(tmp_path, group={1: 1, 3: 0, 5: 0, 7: 0})
    found.files[GROUP].functions = {Function("f", 1, 4), Function("g", 5, 8)}
    assert list(table.uncovered(found, "group.c")) == [
        f"{GROUP}: 3 of 4 lines were not reached",
        "f:",
        "     3  return -EINVAL;",
        "g: never (2 lines from 5 to 8)",
    ]


def test_without_the_source_there_are_the_numbers(tmp_path):
    found = coverage(tmp_path / "gone", group={1: 1, 3: 0})
    found.files[GROUP].functions = {Function("f", 1, 4)}
    assert list(table.uncovered(found, GROUP))[1:] == ["f:", "     3"]


def test_a_file_that_was_not_counted_is_told_with_those_that_were():
    with pytest.raises(HarnessError, match=rf"no lines of roup\.c were counted: there is {GROUP}"):
        list(table.uncovered(coverage(group={1: 1}), "roup.c"))
