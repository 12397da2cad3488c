"""This file checks guests that run side by side: what each of them runs, and how they end."""

import threading

import pytest

from vfio_hw.errors import HarnessError, MachineLost
from vfio_hw.sharing import shared_out
from vfio_hw.vm import lanes
from vfio_hw.vm.lanes import fitting, side_by_side
from vfio_hw.vm.losses import Losses, Stopped, Supervised
from vfio_hw.vm.progress import Progress, restored

TESTS = ["a.py::1", "a.py::2", "b.py::1", "tests_hw/race/c.py::1", "d.py::1", "a.py::3"]


@pytest.mark.parametrize("guests", [1, 2, 3, 9])
def test_every_test_is_in_one_share_and_its_file_with_it(guests):
    shares = shared_out(TESTS, guests)
    assert sorted(test for share in shares for test in share) == sorted(TESTS)
    files = [{test.partition("::")[0] for test in share} for share in shares]
    assert sum(map(len, files)) == 4
    assert len(shares) == min(guests, 4)
    assert all(shares)


def test_what_takes_long_is_shared_out_first():
    alone, rest = shared_out(TESTS, 2)
    assert alone == ["tests_hw/race/c.py::1"]
    assert rest[:2] == TESTS[:2]


@pytest.mark.parametrize(
    ("cores", "available", "expected"), [(2, 64, 1), (8, 64, 4), (8, 6, 2), (1, 64, 1), (8, 1, 1)]
)
def test_as_many_guests_as_there_are_processors_and_memory_for(
    monkeypatch, cores, available, expected
):
    monkeypatch.setattr(lanes.os, "sched_getaffinity", lambda _: range(cores))
    monkeypatch.setattr(lanes, "_available", lambda: available << 30)
    assert fitting(2, "2G") == fitting(2, "2048M") == fitting(2, "2048") == expected


def test_a_memory_that_is_no_size_is_told():
    with pytest.raises(HarnessError, match="such as 2G"):
        fitting(2, "plenty")


class Lane:
    def __init__(self, ends, waits=None):
        self.ends, self.waits = ends, waits

    def run(self):
        if self.waits:
            assert self.waits.wait(10.0)
            raise Stopped
        if isinstance(self.ends, Exception):
            raise self.ends
        return self.ends


def test_together_they_end_as_the_worst_of_them_and_with_what_all_left():
    ends = [Supervised(4, ["x"], 0), Supervised(3, ["y"], None, "lost"), Supervised(5, [], 1)]
    ended = side_by_side([Lane(each) for each in ends], Losses(3))
    assert (ended.guests, sorted(ended.left), ended.status) == (3, ["x", "y"], None)
    assert ended.why == "lost"


def test_one_that_fails_stops_the_others():
    losses = Losses(3)
    with pytest.raises(MachineLost, match="no boot"):
        side_by_side([Lane(MachineLost("no boot")), Lane(None, losses.stop)], losses)


def test_an_interruption_stops_them_all(monkeypatch):
    losses = Losses(3)
    joins = iter([KeyboardInterrupt])

    class Thread(threading.Thread):
        def join(self, timeout=None):
            for error in joins:
                raise error
            super().join(timeout)

    monkeypatch.setattr(lanes.threading, "Thread", Thread)
    with pytest.raises(KeyboardInterrupt):
        side_by_side([Lane(None, losses.stop), Lane(None, losses.stop)], losses)
    assert losses.stop.is_set()


def test_lost_guests_count_for_all_of_them():
    losses = Losses(2)
    assert [losses.enough(more=more) for more in (True, False, True)] == [False, False, True]


def test_no_two_guests_have_the_same_number():
    first, second = Progress().shares([["a"], ["b"]])
    assert [each.next_guest() for each in (first, second, first)] == [1, 2, 3]


def test_a_record_of_guests_side_by_side_is_gone_on_with():
    progress = restored(
        [
            {"event": "plan", "tests": ["a", "b", "c"]},
            {"event": "guest", "number": 1},
            {"event": "guest", "number": 2},
            {"event": "session", "tests": ["c"], "guest": 2},
            {"event": "started", "test": "c", "guest": 2},
            {"event": "started", "test": "a", "guest": 1},
            {"event": "finished", "test": "a", "verdict": "passed", "seconds": 0.1},
        ]
    )
    assert progress.left == ["b", "c"]
    assert progress.attempts == {"c": 1}
    assert progress.next_guest() == 3
