"""This file checks how rounds are told apart: by outcomes, and by what waited."""

import random

from vfio_hw.race.signature import Latencies, Seen, in_order, two_classes

OPEN, REMOVE = (0, 0, "ok"), (1, 1, "ok")


def seen(remove_ns: int, outcome: str = "ok") -> Seen:
    return Seen((outcome, "ok"), ((OPEN, "open", 20_000), (REMOVE, "write remove", remove_ns)))


def test_two_classes_part_where_the_long_durations_begin() -> None:
    assert two_classes([us * 1000 for us in (100, 110, 90, 105, 900, 1000, 950, 97)]) == 900_000


def test_one_class_is_not_parted() -> None:
    draw = random.Random(3)
    for count in (12, 50, 200):
        assert (
            two_classes([round(1000 * draw.lognormvariate(0, 0.4)) for _ in range(count)]) is None
        )
        assert two_classes([draw.randint(1000, 3000) for _ in range(count)]) is None
    assert two_classes([500] * 20) is None


def test_a_few_microseconds_are_no_wait() -> None:
    assert two_classes([100, 1000] * 10) is None
    assert two_classes([100_000, 1_000_000] * 10) == 1_000_000


def test_a_few_disturbed_rounds_are_no_class() -> None:
    assert two_classes([100_000] * 40 + [100_000_000] * 2) is None


def test_what_waited_is_part_of_the_signature_once_it_was_learnt() -> None:
    latencies = Latencies()
    before = latencies.signature(seen(1_500_000))
    assert before.waited == ()
    learnt = [
        latencies.learn(offset, seen(1_000_000 + offset if offset > 6 else 200_000 + offset))
        for offset in range(12)
    ]
    assert learnt == [False] * 11 + [True]
    long, short = latencies.signature(seen(1_500_000)), latencies.signature(seen(210_000))
    assert long.waited == ("write remove",)
    assert short.waited == ()
    assert str(long) == "ok / ok, write remove waited"
    assert latencies.signature(seen(210_000, "ENODEV")) != short


def test_a_call_is_compared_with_its_own_kind() -> None:
    latencies = Latencies()
    for turn in range(24):
        refused = turn % 2
        kind = (0, 0, "EBUSY" if refused else "ok")
        latencies.learn(turn, Seen(("x",), ((kind, "open", 5_000 if refused else 500_000 + turn),)))
    assert latencies.signature(Seen(("x",), ((OPEN, "open", 600_000),))).waited == ()


def test_long_and_short_without_order_say_nothing() -> None:
    """A call that takes the longer time here and there, wherever the race stands."""
    draw, latencies = random.Random(5), Latencies()
    for _ in range(200):
        long = draw.random() < 0.3
        offset = draw.randint(-1_000_000, 1_000_000)
        assert not latencies.learn(offset, seen(1_000_000 if long else 200_000))
    assert in_order([False] * 6 + [True] * 6)
    assert in_order([True] * 6 + [False, True] + [False] * 8)
    assert not in_order([True, False] * 6)
