"""This file races what is still used of a device that goes: mappings, its eventfd, its nodes."""

import os
from pathlib import Path

import pytest

from vfio_hw.fixtures import ByName
from vfio_hw.race.calls import load, munmap, poll
from vfio_hw.race.catalogue.effects import REMOVED
from vfio_hw.race.catalogue.entry import MEDIATED, PCI, Operation, alone, legal
from vfio_hw.race.catalogue.irq import armed, disarmed, eventfd
from vfio_hw.race.catalogue.region import bar_mapped
from vfio_hw.race.catalogue.subject import World
from vfio_hw.race.judges import removal_in_time
from vfio_hw.race.outcome import Call, Round
from vfio_hw.race.program import Slot, Step, close, openat, read
from vfio_hw.uapi import lib

IN_USE = ("legacy", "cdev")
LATE_NS = 300_000
# Between the beginning of a removal and the request to the owner lie locks, but no waiting. Who is
# not asked is given more time in the next rounds, up to so much: a busy machine asks in the end.
ASKED_NS, MOST_NS = 50_000_000, 3_000_000_000
POLLIN = 1


def removal(kind: str) -> str:
    """What removes such a device."""
    return "mdev_remove" if kind in MEDIATED else "driver_unbind"


def of(played: Round, label: str) -> Call:
    """The call with that label."""
    calls = [call for actor in played.actors for call in actor]
    return next(call for call in calls if call.step.label.startswith(label))


@pytest.mark.promise("P3", "P1")
@pytest.mark.parametrize("subject", ["mdpy", "mbochs", "edu"], indirect=True)
def test_a_removal_waits_for_the_last_mapping_of_the_device(subject, by_name: ByName):
    """A mapping is a user like a descriptor: what it shows is there until it is unmapped."""

    def steps(world: World) -> list[Step]:
        opened, where = bar_mapped(world)
        late = load(where, delay_ns=LATE_NS, decisive=True)
        return [opened, close(world.device), late, munmap(where)]

    def judge(played: Round) -> str | None:
        taking = of(played, "write /sys")
        return removal_in_time(taking, (of(played, "mmap"), of(played, "munmap")))

    user = Operation("late_user_of_a_mapping", IN_USE, steps, alone())
    by_name([user], removal(subject.kind), judge)


@pytest.mark.promise("P2")
@pytest.mark.parametrize("subject", ["edu", "e1000e"], indirect=True)
def test_an_owner_that_asked_for_it_is_asked_to_release_the_device(subject, by_name: ByName):
    """The eventfd is armed when the removal begins, or not yet, or no more."""
    index = lib.VFIO_PCI_REQ_IRQ_INDEX
    patience_ns = ASKED_NS

    def steps(world: World) -> list[Step]:
        event = Slot("eventfd")
        return [
            eventfd(event),
            armed(world, index, event, decisive=True),
            poll(event, POLLIN, patience_ns + LATE_NS),
            read(event, 8, label="asked", decisive=True),
            disarmed(world, index),
            close(event),
        ]

    def judge(played: Round) -> str | None:
        nonlocal patience_ns
        arm, taking, asked = (of(played, each) for each in ("VFIO_DEVICE_SET", "write", "asked"))
        began = max(arm.end_ns, taking.start_ns)
        if arm.end_ns < taking.start_ns and began + patience_ns < asked.start_ns and asked.error:
            if patience_ns == MOST_NS:
                return f"the owner was not asked within {MOST_NS / 1e6:.0f} ms"
            patience_ns = min(4 * patience_ns, MOST_NS)
        return None

    user = Operation(
        "owner",
        IN_USE,
        steps,
        alone("ok+EAGAIN") + legal("ok+ok", "it was asked in time", under=REMOVED),
        kinds=PCI,
    )
    by_name([user], "driver_unbind", judge)


@pytest.mark.promise("P4", "P5")
@pytest.mark.parametrize("subject", ["mtty", "edu"], indirect=True)
@pytest.mark.parametrize("whose", ["device", "group"])
def test_a_node_is_gone_when_its_entry_in_sysfs_is(subject, whose, by_name: ByName):
    """First its number is read in sysfs, then it is opened: device_del() takes the node first."""

    def steps(world: World) -> list[Step]:
        at = world.subject
        node = at.node if whose == "device" else at.group_node
        shown = Path("/sys/class", "vfio-dev" if whose == "device" else "vfio", node.name, "dev")
        attribute, opened = Slot("dev"), Slot("node")
        return [
            openat(shown, os.O_RDONLY, into=attribute, decisive=True),
            read(attribute, 16, decisive=True),
            close(attribute),
            openat(node, os.O_RDWR, into=opened, decisive=True),
            close(opened),
        ]

    user = Operation(
        "reader",
        ("nothing",),
        steps,
        alone("ok+ok+ok")
        + legal("ok+ok+ENOENT ok+ok+ENXIO ok+ok+ENODEV", "it went meanwhile", under=REMOVED)
        + legal(
            "ok+ENODEV+ENOENT ENODEV+skipped+ENOENT ENOENT+skipped+ENOENT",
            "device_del()",
            under=REMOVED,
        ),
    )
    by_name([user], removal(subject.kind))
