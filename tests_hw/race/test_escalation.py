"""This file races the end of whoever removes a device: while it waits, and when it need no more.

A signal to who waits in vfio_unregister_group_dev() aborts nothing: at once the owner is asked once
more, and the wait goes on, uninterruptible, until the device is closed. That is raced against this
close, which takes away what the owner is asked through.
"""

import signal
import time
from collections import Counter

import pytest

from vfio_hw.race.actor import Actor, Storm
from vfio_hw.race.calls import kill
from vfio_hw.race.catalogue.cdev import open_cdev
from vfio_hw.race.catalogue.entry import MEDIATED
from vfio_hw.race.catalogue.irq import armed, eventfd
from vfio_hw.race.catalogue.pairs import disruption_named
from vfio_hw.race.catalogue.removal import restored
from vfio_hw.race.catalogue.scenes import SCENES
from vfio_hw.race.catalogue.subject import Subject, World, world_of
from vfio_hw.race.judges import removal_in_time
from vfio_hw.race.outcome import Round
from vfio_hw.race.program import Slot, Step, close
from vfio_hw.race.racer import Racer
from vfio_hw.race.scene import Scene, allowed
from vfio_hw.uapi import lib

#: How long the device is kept, and how far apart the actors may start: a removal comes to its wait
#: in some 500 us, that of a PCI function later.
HOLD_NS, WINDOW_NS = 2_000_000, 2_000_000
#: Rounds of the storm at least, however long one takes.
LEAST_ROUNDS = 5
REFUSED = {"ENODEV", "ENXIO", "ENOENT"}


def removed(world: World) -> tuple[Step, ...]:
    """What removes such a device."""
    name = "mdev_remove" if world.subject.kind in MEDIATED else "driver_unbind"
    return tuple(disruption_named(name).steps(world))


def is_gone(subject: Subject) -> bool:
    """Whether its VFIO driver has it no more."""
    return not (subject.path / "driver").exists()


def killed_while_it_waits(subject: Subject, scene: str) -> Scene:
    """A process removes the device that the user has open, and is killed."""
    restored(subject)
    world, event = world_of(subject), Slot("eventfd of the requests")
    held = SCENES[scene](world)
    setup, closing = list(held.prologue), [close(world.device, delay_ns=HOLD_NS, decisive=True)]
    if subject.kind not in MEDIATED:
        setup += [eventfd(event), armed(world, lib.VFIO_PCI_REQ_IRQ_INDEX, event)]
        closing.append(close(event))
    remover = Slot("the remover", descriptor=False)
    # What the user has open he opens himself: the remover, a process, would have a copy of it.
    return Scene(
        [],
        [
            Actor("user", closing, setup=setup),
            Actor("remover", removed(world), process=True, pid=remover),
            Actor("killer", [kill(remover, signal.SIGKILL, delay_ns=HOLD_NS, decisive=True)]),
        ],
        held.epilogue,
    )


@pytest.mark.promise("P2", "P1")
@pytest.mark.parametrize("scene", ["legacy", "cdev"])
@pytest.mark.parametrize("subject", ["mtty", "edu"], indirect=True)
def test_a_removal_whose_process_is_killed_waits_for_the_close_all_the_same(
    subject: Subject, scene: str, raced
):
    def judge(played: Round) -> str | None:
        (closed, *_), (_, write, *_), _ = played.actors
        # Killed before the call it has removed nothing: when it was to begin does not tell.
        if write.outcome not in ("ok", "SIGKILL") or not is_gone(subject):
            return None
        got = next(call for call in played.setups[0] if call.step.into is closed.step.arguments[0])
        return removal_in_time(write, (got, closed))

    ended = {"ok+ok", "ok+SIGKILL", "ok+not run", "SIGKILL+not run", "not run+not run"}
    legal = {("ok", each, kills) for each in ended for kills in ("ok", "ESRCH")}
    with Racer() as racer:
        try:
            raced(
                racer,
                lambda: killed_while_it_waits(subject, scene),
                legal,
                judge,
                window_ns=WINDOW_NS,
                device=subject,
            )
        finally:
            restored(subject)


@pytest.mark.promise("P1")
@pytest.mark.parametrize("subject", ["mtty", "edu"], indirect=True)
def test_who_opens_a_node_again_and_again_has_it_until_it_goes(
    subject: Subject, pytestconfig, record_property
):
    """Free-running, with the removal in its midst: each open is whole, or refused as it must be."""
    end = time.monotonic() + pytestconfig.option.race_budget
    seen: Counter[str] = Counter()
    rounds = 0
    with Racer() as racer:
        try:
            while time.monotonic() < end or rounds < LEAST_ROUNDS:
                rounds += 1
                restored(subject)
                world = world_of(subject)
                opener = Actor("opener", open_cdev(world), storm=Storm())
                remover = Actor("remover", removed(world), offset_ns=HOLD_NS)
                scene = allowed(Scene([], [opener, remover]))
                played = racer.round(scene.prologue, scene.actors, scene.epilogue)
                stormed, _ = played.storms
                assert stormed is not None
                opened, closed = stormed.outcomes
                assert played.outcome[1] == "ok+ok", played.describe()
                assert {*opened} <= {"ok", *REFUSED}, played.describe()
                assert opened["ok"] == closed["ok"] == closed.total() - closed["skipped"]
                assert is_gone(subject)
                seen += opened
        finally:
            restored(subject)
    record_property("rounds", rounds)
    record_property("outcomes", dict(seen))
    assert seen["ok"], "it was never opened"
