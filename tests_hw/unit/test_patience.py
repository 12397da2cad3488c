"""This file checks how often something is tried, and for how long, before a test gives up."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from vfio_hw.errors import Unsupported
from vfio_hw.fixtures import matrix
from vfio_hw.fixtures import patience as module
from vfio_hw.fixtures.patience import patience, tries
from vfio_hw.race.catalogue import choice
from vfio_hw.race.catalogue.play import Aim
from vfio_hw.race.racer import Racer
from vfio_hw.watchdog import deadline_for


@pytest.mark.parametrize(
    ("taken", "tried"),
    [((1, 1, 90), 3), ((15, 15), 2), ((40,), 1), ((2, 30), 2)],
)
def test_something_is_tried_again_while_that_fits(monkeypatch, taken, tried):
    now = 0.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    with nullcontext() if tried == 3 else pytest.raises(Unsupported, match=f"tried {tried} times"):
        for number in tries(3, 36.0):
            now += taken[number - 1]
    assert number == tried


def config(deadline=None):
    option = SimpleNamespace(test_deadline=deadline, race_budget=3.0, race_replay=None, seed=1)
    return SimpleNamespace(option=option)


def test_half_of_a_tests_time_is_for_being_met():
    assert patience(config()) == deadline_for(3.0) / 2
    assert patience(config(10.0)) == 5.0


def test_a_pair_has_no_more_of_it(subject, monkeypatch):
    asked = {}
    monkeypatch.setattr(matrix, "aimed", lambda *_, **__: Aim((0, 0), 1000, 0.1))
    monkeypatch.setattr(matrix, "seek", lambda *_, **how: asked.update(how))
    (chosen,) = choice.chosen("open_group-against-mdev_remove-mtty", 1)
    matrix._sought(Racer(), chosen, None, None, subject, config(), None, None)
    assert asked["unmet_seconds"] == patience(config())
