"""Which of the catalogue's tests a run takes: drawn by the seed, listed, or named."""

from types import SimpleNamespace

import pytest

from vfio_hw.fixtures.selection import operations_of, pairs_of, sweeps_of
from vfio_hw.race.catalogue.choice import SAMPLE, matrix_on
from vfio_hw.race.catalogue.pairs import OPERATIONS

PAIR = "read_BAR-against-module_unload-mbochs"


def config(pairs: str = str(SAMPLE), seed: int = 1, args: tuple[str, ...] = ()):
    """What is read of pytest's configuration."""
    return SimpleNamespace(
        option=SimpleNamespace(pairs=pairs, seed=seed, machine=None), args=list(args)
    )


def test_the_seed_draws_and_all_are_all():
    drawn = pairs_of(config())
    assert len(drawn) == SAMPLE
    assert drawn == pairs_of(config()) != pairs_of(config(seed=2))
    assert pairs_of(config(), every=10) == drawn[::10]
    assert len(pairs_of(config("all"), every=10)) == len(matrix_on(""))


def test_every_operation_has_its_turn_alone():
    parts = [operations_of(config(seed=seed), "mtty") for seed in range(3)]
    assert {each.name for part in parts for each in part} == {
        each.name for each in OPERATIONS if "mtty" in each.kinds
    }
    assert len(operations_of(config("all"), "mtty")) == sum(map(len, parts))


def test_a_test_that_is_named_is_the_only_one_that_is_made():
    args = ("tests_hw/irq", f"tests_hw/race/test_matrix.py::test_a_pair[{PAIR}]")
    (only,) = pairs_of(config(args=args))
    assert only.pair.name == PAIR
    args = ("tests_hw/fault/test_fail_nth.py::test_whatever[create_mdev-mdpy]",)
    ((kind, operation),) = sweeps_of(config(args=args))
    assert (kind, operation.name) == ("mdpy", "create_mdev")
    args = ("tests_hw/race/test_catalogue.py::test_an_operation[read_BAR-edu]",)
    assert [each.name for each in operations_of(config(args=args), "edu")] == ["read_BAR"]
    assert operations_of(config(args=args), "mtty") == []


def test_sweeps_are_fewer_than_pairs_unless_all_are_wanted():
    assert len(sweeps_of(config())) == SAMPLE // 4
    assert len(sweeps_of(config("all"))) == sum(len(each.kinds) for each in OPERATIONS)


def test_a_pair_that_is_not_there_is_wrong_usage():
    with pytest.raises(pytest.UsageError, match="no pair nonsense"):
        pairs_of(config("nonsense"))


def test_pairs_are_listed_by_a_file(tmp_path):
    file = tmp_path / "pairs.txt"
    file.write_text(f"{PAIR}=2.5\n{PAIR}\n")
    assert [each.seconds for each in pairs_of(config(f"@{file}"))] == [2.5, None]
    file.write_text("\n")
    with pytest.raises(pytest.UsageError, match="lists no pair: name another file"):
        pairs_of(config(f"@{file}"))
    with pytest.raises(pytest.UsageError, match=r"missing can not be read \(No such file"):
        pairs_of(config(f"@{tmp_path}/missing"))
