"""This file checks what the judges say of made-up rounds: times are in microseconds here."""

import pytest

from vfio_hw.race.judges import PROMPT_NS, one_holder, removal_in_time
from vfio_hw.race.outcome import Call
from vfio_hw.race.program import Step

PROMPT = PROMPT_NS // 1000
NEVER = (0, 0)


def call(outcome: str, start: int, end: int) -> Call:
    step = Step(label="made up", number=0, arguments=())
    return Call(step, outcome, 0, 0, start * 1000, end * 1000)


def user(outcome: str, opening: tuple[int, int], closing: tuple[int, int]) -> tuple[Call, Call]:
    return call(outcome, *opening), call("skipped" if closing == NEVER else "ok", *closing)


def removal(start: int, end: int) -> Call:
    return call("ok", start, end)


@pytest.mark.parametrize(
    "times",
    [(120, 1250), (50, 1211), (105, 1200), (1205, 1900), (5000, 5900), (300, 1220 + PROMPT)],
    ids=["held", "before the open", "within the open", "in the close", "after", "just in time"],
)
def test_a_removal_that_the_close_lets_go_is_in_time(times: tuple[int, int]) -> None:
    holder = user("ok", (100, 110), (1200, 1220))
    assert removal_in_time(removal(*times), holder) is None


def test_a_removal_that_returns_before_the_close_is_not() -> None:
    holder = user("ok", (100, 110), (1200, 1220))
    complaint = removal_in_time(removal(50, 1200 - 199), holder)
    assert complaint == "the removal returned 199 us before the device was closed"


def test_a_removal_that_returned_before_the_device_was_got_is_not() -> None:
    """Who still gets the device then has one that is gone."""
    holder = user("ok", (100, 110), (1200, 1220))
    assert "before the device was closed" in str(removal_in_time(removal(20, 90), holder))


def test_what_follows_a_refused_bind_is_held_as_well() -> None:
    bound = (call("ok", 100, 110), call("EAGAIN", 110, 300), call("ok", 1300, 1320))
    assert "before the device was closed" in str(removal_in_time(removal(20, 400), bound))
    assert removal_in_time(removal(20, 1310), bound) is None


@pytest.mark.parametrize("begins", [50, 150, 1210])
def test_a_removal_that_the_close_did_not_wake_is_late(begins: int) -> None:
    holder = user("ok", (100, 110), (1200, 1220))
    complaint = removal_in_time(removal(begins, 1221 + PROMPT), holder)
    assert complaint == "the removal returned 5.0 s after it had nothing to wait for"


def test_a_removal_is_not_held_up_by_who_was_refused() -> None:
    refused = user("ENODEV", (100, 110), NEVER)
    assert removal_in_time(removal(50, 900), refused) is None
    assert "after it had nothing" in str(removal_in_time(removal(50, 51 + PROMPT), refused))


def test_a_removal_that_nobody_is_in_the_way_of_is_prompt() -> None:
    assert removal_in_time(removal(50, 50 + PROMPT)) is None
    assert "after it had nothing" in str(removal_in_time(removal(50, 51 + PROMPT)))


HOLDER = user("ok", (100, 110), (200, 220))


@pytest.mark.parametrize("opening", [(90, 100), (105, 108), (150, 160), (220, 240)])
def test_a_group_may_be_busy_while_another_may_have_it(opening: tuple[int, int]) -> None:
    refused = user("EBUSY", opening, NEVER)
    assert one_holder(HOLDER, refused) is None
    assert one_holder(refused, HOLDER) is None


@pytest.mark.parametrize("opening", [(80, 99), (221, 240)])
def test_a_group_is_not_busy_while_nobody_has_it(opening: tuple[int, int]) -> None:
    refused = user("EBUSY", opening, NEVER)
    assert "nobody else had it open" in str(one_holder(HOLDER, refused))
    assert "nobody else had it open" in str(one_holder(refused, HOLDER))


def test_a_group_is_not_busy_for_both() -> None:
    refused = user("EBUSY", (100, 110), NEVER)
    assert "nobody else had it open" in str(one_holder(refused, refused))


@pytest.mark.parametrize("second", [((205, 230), (300, 310)), ((219, 230), (300, 310))])
def test_a_group_is_open_again_once_its_close_has_begun(
    second: tuple[tuple[int, int], tuple[int, int]],
) -> None:
    assert one_holder(HOLDER, user("ok", *second)) is None
    assert one_holder(user("ok", *second), HOLDER) is None


@pytest.mark.parametrize("second", [((105, 115), (300, 310)), ((150, 199), (300, 310))])
def test_two_users_do_not_have_a_group_open_at_once(
    second: tuple[tuple[int, int], tuple[int, int]],
) -> None:
    assert "at the same time" in str(one_holder(HOLDER, user("ok", *second)))
    assert "at the same time" in str(one_holder(user("ok", *second), HOLDER))


def test_a_group_may_refuse_a_user_for_another_reason() -> None:
    assert one_holder(HOLDER, user("ENODEV", (500, 510), NEVER)) is None
