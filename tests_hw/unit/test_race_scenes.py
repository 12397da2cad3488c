"""This file checks of which programs the rounds of a pair are made."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from vfio_hw.race.catalogue.judging import judge_of
from vfio_hw.race.catalogue.pairs import disruption_named, operation_named, together
from vfio_hw.race.catalogue.play import scene_of
from vfio_hw.race.layout import Layout
from vfio_hw.race.outcome import Call, Round
from vfio_hw.uapi import ffi


@pytest.mark.parametrize("what", ["device", "group", "container", "iommufd", "vm", "kvm_vfio"])
def test_who_closes_what_is_closed_elsewhere_closes_a_duplicate(subject, what):
    """Each makes its call, whoever takes the slot; the user makes no other close of it."""
    user, taker = operation_named(f"close_{what}"), disruption_named(f"close_{what}_elsewhere")
    pair = together([user], taker, "mtty")
    scene = scene_of(pair, subject)
    one, other = ([step for step in actor.program if step.takes] for actor in scene.actors)
    (copied,) = (step for step in scene.prologue if step.label.startswith("dup "))
    assert [step.arguments[0] for step in one if step.decisive] == [copied.into]
    assert [step.arguments[0] for step in other if step.decisive] == [copied.arguments[0]]
    assert copied.arguments[0] not in [step.arguments[0] for step in one]
    assert ("ok", "ok") in pair.legal


@pytest.mark.parametrize("early", [True, False])
def test_a_device_that_is_in_a_message_or_came_by_one_is_open(subject, early):
    """A removal returns when the descriptor is closed that was received."""
    pair = together([operation_named("pass_device")], disruption_named("mdev_remove"), "mtty")
    scene = scene_of(pair, subject)
    user, taker = (list(enumerate(actor.program)) for actor in scene.actors)
    received = next(place for place, step in user if step.label.startswith("receive"))
    until = received + 1 if early else len(user)
    actors = (
        tuple(Call(step, "ok", 0, 0, 100 * place + 1, 100 * place + 50) for place, step in user),
        tuple(Call(s, "ok", 0, 0, 10 + p, 11 + p if p != 1 else 100 * until) for p, s in taker),
    )
    played = Round((), (), (), actors, (), 0, (), ((), ()))
    assert played.outcome == ("ok+ok", "ok+ok")
    complaint = judge_of(pair)(played)
    assert bool(complaint and "before the device was closed" in complaint) == early


def test_nothing_is_received_where_nothing_was_sent(subject):
    """By a slot that the sending fills: else what comes of it would be of chance."""
    pair = together(
        [operation_named("pass_device")], disruption_named("close_device_elsewhere"), "mtty"
    )
    assert {user for user, _ in pair.legal} == {
        "ok+ok",
        "EBADF+skipped",
        "skipped+skipped",
    }
    scene = scene_of(pair, subject)
    Layout(ffi.new("struct race *")[0], scene.prologue, scene.actors, scene.epilogue)
    by_label = SimpleNamespace(**{s.label.split()[0]: s for s in scene.actors[0].program})
    assert by_label.send.into in by_label.receive.arguments


def test_a_display_without_a_mode_is_given_one_before_it_is_asked(subject):
    """And asked once for nothing: mbochs refuses the first question for a new mode."""
    gone = disruption_named("mdev_remove")
    for kind, labels in (
        ("mdpy", ["VFIO_DEVICE_QUERY_GFX_PLANE"]),
        ("mbochs", ["pwrite device"] * 4 + ["VFIO_DEVICE_QUERY_GFX_PLANE"] * 2),
    ):
        pair = together([operation_named("VFIO_DEVICE_QUERY_GFX_PLANE")], gone, kind)
        steps = scene_of(pair, replace(subject, kind=kind)).actors[0].program
        assert [step.label for step in steps] == [*labels, "close device"]
        assert [step.decisive for step in steps[-3:]] in ([True, False], [False, True, False])


@pytest.mark.parametrize("disruption", ["close_device_elsewhere", "owner_killed"])
def test_who_resumes_a_migration_may_lose_the_device_meanwhile(disruption):
    pair = together([operation_named("mig_RESUMING")], disruption_named(disruption), "mtty")
    assert ("ok", "ok") in pair.legal
