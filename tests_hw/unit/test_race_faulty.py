"""Hindered operations: what is put where, and what is complained of."""

import errno
import os
import random
from itertools import product
from types import SimpleNamespace

import pytest

from vfio_hw.race.calls import receive_descriptor, send_descriptor, socketpair
from vfio_hw.race.catalogue.entry import Operation, alone, legal
from vfio_hw.race.catalogue.faulty import (
    FAULTS,
    SPARED,
    Drawn,
    Nth,
    Tried,
    around,
    explained,
    hindered,
)
from vfio_hw.race.catalogue.limits import LIMITS
from vfio_hw.race.catalogue.pairs import operation_named
from vfio_hw.race.catalogue.subject import world_of
from vfio_hw.race.program import Slot, close, openat, syscall, write_file
from vfio_hw.race.racer import Actor, Racer

DONE = "it is done"
OPERATION = Operation(
    "once",
    ("nothing",),
    lambda world: (),
    alone("ok+ok") + legal("EEXIST+skipped", "it was done before", under=DONE),
    frozenset({DONE}),
)
NONE: frozenset[str] = frozenset()
LEGAL = {("ok", "ok")}


def test_what_hinders_is_around_the_decisive_calls_alone():
    plain = syscall("nanosleep", 0, 0, label="plain")
    decisive = syscall("nanosleep", 0, 0, label="decisive", decisive=True)
    steps = around((plain, decisive, plain, decisive, plain), (plain,) * 2, (plain,) * 3)
    labels = "".join(step.label[0] for step in steps)
    assert labels == "p" + "pp" + "dpd" + "ppp" + "p"


@pytest.mark.parametrize(
    ("outcome", "again", "answers", "wrong"),
    [
        ("ok+ok", "EEXIST+skipped", NONE, None),
        ("ok+ok", "ok+ok", NONE, None),
        ("ENOMEM+skipped", "ok+ok", FAULTS, None),
        ("ok+ENOMEM", "ok+ok", FAULTS, None),
        ("ENOMEM+skipped", "ok+ok", NONE, "it said ENOMEM+skipped"),
        ("EIO+skipped", "ok+ok", FAULTS, "it said EIO+skipped"),
        ("ENOMEM+EIO", "ok+ok", FAULTS, "it said ENOMEM+EIO"),
        # It failed, and has done it all the same.
        ("EFAULT+skipped", "EEXIST+skipped", FAULTS, "when it was repeated"),
        ("ok+ok", "ENOMEM+skipped", FAULTS, "when it was repeated"),
    ],
)
def test_a_hindered_operation_may_say_so_and_succeeds_when_repeated(outcome, again, answers, wrong):
    tried = Tried(outcome, again, SimpleNamespace(actors=[()]))
    complaint = tried.complaint(OPERATION, "mtty", "nothing", answers)
    assert complaint == wrong if wrong is None else wrong in complaint


@pytest.mark.parametrize("again", ["ok", "skipped"])
@pytest.mark.parametrize("name", ["close_group", "close_iommufd", "close_vm", "close_device"])
def test_a_close_finds_nothing_when_it_is_repeated_but_a_descriptor_of_its_own(
    subject, name, again
):
    operation, world = operation_named(name), world_of(subject)
    steps = (*operation.steps(world), *operation.steps(world.second_user()))
    calls = [SimpleNamespace(step=step) for step in steps]
    tried = Tried("ok", again, SimpleNamespace(actors=[calls]))
    right = again == ("ok" if name == "close_device" else "skipped")
    assert (tried.complaint(operation, "mtty", operation.scenes[0], NONE) is None) == right


def test_of_a_pair_only_the_first_user_may_be_hindered():
    outcomes = hindered({("ok+ok", "ok"), ("ENODEV+skipped", "EBUSY")})
    assert ("ok+ok", "ok") in outcomes
    assert ("ENOMEM+skipped", "ok") in outcomes
    assert ("ENOMEM+skipped", "EBUSY") in outcomes
    assert ("ok+ok", "EBUSY") not in outcomes
    assert ("ok+ok", "ENOMEM") not in outcomes
    assert ("EIO+skipped", "ok") not in outcomes


def test_all_outcomes_that_a_fault_explains_are_listed():
    alone = frozenset({"ok+ok", "ENODEV+skipped"})
    words = ("ok", "skipped", "SIGKILL", "not run", "ENODEV", "EIO", *FAULTS)
    every = {"+".join(parts) for parts in product(words, repeat=2)}
    listed = {outcome for (outcome,) in hindered({(each,) for each in alone})}
    assert listed == {each for each in every if explained(each, alone, FAULTS)} | alone


def counted(outcome: str, second: int = 15) -> SimpleNamespace:
    """A round whose count of what was left came to that; a second actor runs too, from 15 on."""
    step = SimpleNamespace(label="count", decisive=True)
    call = SimpleNamespace(step=step, outcome=outcome, start_ns=10, end_ns=20)
    other = SimpleNamespace(step=step, outcome="ok", start_ns=second, end_ns=second + 10)
    return SimpleNamespace(actors=[[call], [other]], outcome=(outcome, "ok"))


def test_the_nth_has_failed_when_none_is_left_and_the_answer_was_had():
    answer = b"0\n8\n\0"
    nth = Nth(SimpleNamespace(answered=lambda: answer, answer=0), 3)
    assert nth.fired(counted("ok"))
    assert not nth.fired(counted("EFAULT"))
    answer = b"17\n"
    assert not nth.fired(counted("ok")) and nth.left() == 17


def test_the_first_thing_fails_first_and_then_any_of_those_that_there_are():
    """An operation in which seven can fail."""
    number, numbers = 0, []
    world = SimpleNamespace(answered=lambda: b"%d\n" % max(0, number - 7), answer=0)
    drawn = Drawn(random.Random(1))
    for _ in range(200):
        number = drawn.hinder(world).nth
        assert drawn.judge(counted("ok"), LEGAL) is None
        numbers.append(number)
    assert numbers[0] == 1
    assert {*range(1, 8)} <= {*numbers} and max(numbers) <= 14
    assert drawn.rounds == 200
    assert drawn.fired == sum(number <= 7 for number in numbers) > 100


def test_what_failed_in_a_failure_fails_in_each_round_that_runs_it_again():
    drawn = Drawn(random.Random(1), always=3)
    world = SimpleNamespace(answered=lambda: b"0", answer=0)
    numbers = set()
    for _ in range(20):
        numbers.add(drawn.hinder(world).nth)
        assert drawn.judge(counted("ok"), ()) is None
    assert numbers == {3}
    assert drawn.fired == drawn.crossed == 20


def test_what_fails_when_nobody_is_met_crosses_nothing():
    drawn = Drawn(random.Random(1))
    drawn.hinder(SimpleNamespace(answered=lambda: b"0", answer=0))
    assert drawn.judge(counted("ok", second=30), LEGAL) is None
    assert (drawn.rounds, drawn.fired, drawn.crossed) == (1, 1, 0)


def test_a_fault_that_never_came_explains_nothing():
    """That it came may be unknown, when the copy of the answer failed."""
    drawn = Drawn(random.Random(1))
    left = b"1"
    drawn.hinder(SimpleNamespace(answered=lambda: left, answer=0))
    complaint = drawn.judge(counted("ok"), {("ok+ok", "ok")})
    assert complaint == "nothing failed, and (ok, ok) is not legal"
    assert drawn.judge(counted("EFAULT"), {("ok+ok", "ok")}) is None
    left = b"0"
    assert drawn.judge(counted("ok"), {("ok+ok", "ok")}) is None
    assert (drawn.rounds, drawn.fired, drawn.crossed) == (3, 1, 1)


@pytest.mark.parametrize("name", SPARED)
def test_what_is_spared_is_an_operation(name):
    assert operation_named(name).name == name


def test_a_limit_is_reached_between_its_steps_and_no_longer(tmp_path):
    limit = LIMITS["no_descriptor"]
    (tmp_path / "file").touch()
    inside, after = (write_file(tmp_path / "file", b"1", decisive=True) for _ in range(2))
    with limit.around() as way, Racer() as racer:
        hindrance = limit.by(way)
        program = (*hindrance.before(), *inside, *hindrance.after(), *after)
        played = racer.round([], [Actor("opener", program)])
    assert played.outcome == ("EMFILE+skipped+ok+ok",)
    assert errno.EMFILE in {call.error for call in played.actors[0]}


def test_a_descriptor_for_which_there_is_no_place_is_not_received():
    """The message comes without it: its slot is empty, and not that of descriptor 0."""
    limit, ends = LIMITS["no_descriptor"], (Slot("one"), Slot("other"))
    null, got = Slot("null"), Slot("got")
    prologue = [
        socketpair(*ends),
        openat("/dev/null", os.O_RDONLY, into=null),
        send_descriptor(ends[0], null),
    ]
    with limit.around() as way, Racer() as racer:
        hindrance = limit.by(way)
        receiving = receive_descriptor(ends[1], got, decisive=True)
        program = (*hindrance.before(), receiving, *hindrance.after(), close(got, decisive=True))
        closing = [close(slot) for slot in (null, *ends)]
        played = racer.round(prologue, [Actor("receiver", program)], closing)
    assert played.outcome == ("ok+skipped",)
