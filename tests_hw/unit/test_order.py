"""This file checks which tests come first when a bug of a known promise is looked for."""

from pathlib import Path

import pytest

from vfio_hw import order
from vfio_hw.order import Order
from vfio_hw.report.known import Known

pytest_plugins = ["pytester"]

TESTS = """
import pytest

@pytest.mark.promise("P8")
@pytest.mark.parametrize("kind", ["mtty", "edu"])
def test_answers(kind):
    pass

@pytest.mark.promise("P1")
@pytest.mark.promise("P9")
@pytest.mark.parametrize("kind", ["mtty", "edu", "e1000e"])
@pytest.mark.parametrize("mode", ["a", "b"])
def test_removal(kind, mode):
    pass

@pytest.mark.promise("P1")
def test_without_a_device():
    pass
"""


@pytest.fixture
def items(pytester):
    """The tests above, collected."""
    return pytester.getitems(TESTS)


def names(items) -> list[str]:
    return [item.name for item in items]


def test_those_of_the_promise_and_the_device_come_first_each_test_once(items):
    first = names(order.ordered(items, Order(promise="P1", devices=("edu",))))
    assert first[:4] == [
        "test_removal[a-edu]",
        "test_removal[b-edu]",
        "test_without_a_device",
        "test_answers[edu]",
    ]
    assert sorted(first) == sorted(names(items))


def test_the_preferred_way_to_open_a_device_has_the_first_turn(pytester):
    items = pytester.getitems("""
import pytest

@pytest.mark.parametrize("mode", ["vfio_type1_iommu", "iommufd"])
def test_open(mode):
    pass

def test_no_mode():
    pass
""")
    found = names(order.ordered(items, Order(ways=("iommufd",))))
    assert found == ["test_open[iommufd]", "test_no_mode", "test_open[vfio_type1_iommu]"]


def test_tests_whose_names_have_to_do_with_it_come_before_others(pytester):
    items = pytester.getitems(
        "".join(f"def test_a_thing_{number}(): pass\n" for number in range(8))
        + "def test_the_owner_resets_a_bus(): pass\n"
    )
    found = names(order.ordered(items, Order(about="A reset of the bus keeps a thing")))
    assert found[0] == "test_the_owner_resets_a_bus"
    assert found[1:] == [item.name for item in items[:8]]


def test_what_has_seen_it_before_comes_first_and_what_always_fails_last(items):
    seen = next(item.nodeid for item in items if item.name == "test_answers[mtty]")
    last = tuple(item.nodeid for item in items if item.name == "test_without_a_device")
    found = names(order.ordered(items, Order(tests=(seen,), last=last, promise="P1")))
    assert found[0] == "test_answers[mtty]"
    assert found[-1] == "test_without_a_device"


def test_races_come_last_of_their_kind_unless_they_are_what_is_looked_for(pytester):
    other, race = pytester.mkpydir("other"), pytester.mkpydir("race")
    (other / "test_a.py").write_text("def test_other(): pass\n")
    (race / "test_b.py").write_text("def test_race(): pass\n")
    items, _ = pytester.inline_genitems()
    for races, expected in (
        (False, ["test_other", "test_race"]),
        (True, ["test_race", "test_other"]),
    ):
        assert names(order.ordered(items, Order(races=races))) == expected


def test_what_may_show_a_known_find_comes_last_and_the_rest_stays_as_it_was(items):
    find = Known("find", ("*::test_answers[edu]", "*::test_removal*"), ("words",), ("7.3",))
    names = [item.name for item in order.known_last(items, "7.3.4", [find])]
    last = [item.name for item in items if item.name.startswith(("test_answers[edu", "test_rem"))]
    assert last
    assert names == [item.name for item in items if item.name not in last] + last
    assert order.known_last(items, "6.12.1", [find]) == items


def test_an_order_is_the_same_after_it_was_written_and_read(tmp_path: Path):
    given = Order(("t",), ("l*",), "P3", ("mtty", "edu"), ("iommufd",), races=True)
    given.write(tmp_path / "order")
    assert order.read(tmp_path / "order") == given


def test_a_sample_has_each_test_once_and_the_seed_draws_which(items):
    drawn = {tuple(names(order.sampled(items, seed))) for seed in range(20)}
    assert len(drawn) > 1
    assert {len(each) for each in drawn} == {3}
    assert names(order.sampled(items, 7)) == names(order.sampled(items, 7))


def test_a_function_has_all_its_promises(items):
    found = order.promises_of(items)
    assert [found[name] for name in found] == [["P8"], ["P1", "P9"], ["P1"]]


DEVICES = """
import pytest

@pytest.fixture
def free_e1000e():
    pass

@pytest.fixture
def two_of_a_group():
    pass

@pytest.fixture(params=["mtty", "edu"])
def device(request):
    pass

def test_each(device):
    pass

def test_some(free_e1000e, two_of_a_group):
    pass

@pytest.mark.parametrize("mode", ["vfio_type1_iommu"])
def test_none(mode):
    pass
"""


def test_a_test_says_which_kinds_of_devices_it_uses(pytester):
    found = {item.name: order.kinds(item) for item in pytester.getitems(DEVICES)}
    assert found == {
        "test_each[mtty]": ["mtty"],
        "test_each[edu]": ["edu"],
        "test_some": ["edu", "e1000e"],
        "test_none[vfio_type1_iommu]": [],
    }


def test_what_is_for_another_machine_is_left_out_unless_nothing_else_was_asked_for(pytester):
    items = pytester.getitems("""
import pytest

@pytest.mark.machine("noiommu")
def test_bare():
    pass

def test_anywhere():
    pass
""")
    assert names(order.for_machine(items, "noiommu")) == ["test_bare", "test_anywhere"]
    assert names(order.for_machine(items, "sr-iov")) == ["test_anywhere"]
    assert names(order.for_machine(items[:1], "sr-iov")) == ["test_bare"]
