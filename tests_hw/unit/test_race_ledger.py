"""What each pair has had is kept across runs, and the next budget goes to those that had least."""

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.race.ledger import LEAST_SECONDS, NAME, OVERHEAD_SECONDS, Ledger, plan, read, write

EACH = LEAST_SECONDS + OVERHEAD_SECONDS
NAMES = [f"pair{number}" for number in range(10)]


def had(near: int, held: int = 1) -> dict[str, object]:
    """What a test of a pair records."""
    edges = [{"held": True}] * held + [{"held": False}]
    return {"seconds": 2.0, "rounds": 50, "met": 20, "near": near, "edges": edges}


def test_a_ledger_sums_up_and_begins_anew_with_another_kernel():
    ledger = Ledger()
    ledger.note("7.3", [("pair1", had(5)), ("pair2", had(0, held=0)), ("pair1", had(7, held=2))])
    assert (ledger.pairs["pair1"].near, ledger.pairs["pair1"].rounds) == (12, 100)
    assert ledger.pairs["pair1"].held == 2
    assert ledger.held(NAMES) == 1
    ledger.note("7.4", [("pair3", had(1))])
    assert set(ledger.pairs) == {"pair3"}


def test_who_had_least_gets_a_budget_that_does_not_suffice_for_all():
    ledger = Ledger("7.3")
    ledger.note("7.3", [(name, had(5)) for name in NAMES[:7]])
    planned = plan(ledger, NAMES, 3 * EACH, seed=1)
    assert {name for name, _ in planned} == {*NAMES[7:]}
    assert all(seconds == pytest.approx(LEAST_SECONDS) for _, seconds in planned)


def test_a_budget_is_spent_whole_and_most_of_it_where_edges_had_fewest_rounds():
    ledger = Ledger("7.3")
    ledger.note("7.3", [(name, had(9)) for name in NAMES[1:]])
    planned = dict(plan(ledger, NAMES, 100.0, seed=1))
    assert sum(planned.values()) + OVERHEAD_SECONDS * len(NAMES) == pytest.approx(100.0, abs=0.1)
    assert planned["pair0"] > 2 * planned["pair1"] > 2 * LEAST_SECONDS


def test_of_equals_the_seed_chooses():
    first, again, other = (plan(Ledger(), NAMES, 4 * EACH, seed) for seed in (1, 1, 2))
    assert first == again != other


def test_who_failed_comes_after_its_equals_and_who_was_skipped_last():
    ledger = Ledger("7.3")
    ledger.note("7.3", [(name, had(5)) for name in NAMES[2:]])
    ledger.note("7.3", [("pair0", {"seconds": 3.0}), ("pair1", {"seconds": 0.1, "skipped": True})])
    first = plan(ledger, NAMES, EACH, seed=1)
    assert [name for name, _ in first] == ["pair0"]
    assert "pair1" not in dict(plan(ledger, NAMES, 9 * EACH, seed=1))
    ledger.note("7.3", [("pair1", had(0))])
    assert [name for name, _ in plan(ledger, NAMES, EACH, seed=1)] == ["pair1"]


def test_a_budget_that_is_too_small_is_refused():
    with pytest.raises(HarnessError, match="too small for one pair"):
        plan(Ledger(), NAMES, 1.0, seed=1)


def test_what_is_written_is_read_and_other_kernels_keep_theirs(tmp_path, monkeypatch):
    monkeypatch.setenv("VFIO_HW_CACHE", str(tmp_path))
    assert read("latest") == Ledger()
    one, other = Ledger(), Ledger()
    one.note("7.3", [("pair1", had(5))])
    other.note("6.12", [("pair2", had(6))])
    write("latest", one)
    write("6.12", other)
    assert (read("latest"), read("6.12")) == (one, other)
    (tmp_path / NAME).write_text("{")
    with pytest.raises(HarnessError, match="remove it to begin anew"):
        read("latest")
