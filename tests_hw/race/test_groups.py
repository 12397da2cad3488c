"""This file checks that a group has one opener at a time and comes into being once (P4)."""

from pathlib import Path

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.host.binding import bound_to, free, set_driver_override, unbind
from vfio_hw.host.mdev import Mdev
from vfio_hw.host.pci import PciFunction
from vfio_hw.race import uses
from vfio_hw.race.judges import one_holder
from vfio_hw.race.outcome import Round
from vfio_hw.race.racer import Actor, Racer
from vfio_hw.race.spread import Scene

# How far apart two opens, or two probes, may start.  Under TCG an open takes 25 to 55 us, a close
# 5, and an actor starts within 2 us of its time unless the host has other work for its CPU: so two
# opens overlap in 6 rounds of 10, and in every other round both get the group, one after the other.
OPENS_NS = 60_000
OPEN_HOLD_NS = 20_000
PROBES_NS = 400_000


@pytest.mark.promise("P4")
def test_of_two_openers_at_once_at_least_one_gets_the_group(mtty: Mdev, raced):
    """Two opens of one group: never both while the other holds it, never neither."""
    number = mtty.iommu_group
    device = Target("mtty", mtty.uuid, mtty.path, mtty)

    def scene() -> Scene:
        return Scene(
            [],
            [
                Actor("first open", uses.group_opened(number, OPEN_HOLD_NS)),
                Actor("second open", uses.group_opened(number, OPEN_HOLD_NS)),
            ],
        )

    def judge(played: Round) -> str | None:
        return one_holder(*played.actors)

    outcomes = {("ok", "ok"), ("ok", "EBUSY"), ("EBUSY", "ok")}
    with Racer() as racer:
        raced(racer, scene, outcomes, judge, window_ns=OPENS_NS, device=device)


@pytest.mark.promise("P4")
def test_two_devices_probed_at_once_share_one_group(two_free_of_a_group: list[PciFunction], raced):
    """Two functions of one IOMMU group are offered to vfio-pci at the same time."""
    first, second = two_free_of_a_group
    number = first.iommu_group

    def scene() -> Scene:
        for function in two_free_of_a_group:
            unbind(function)
        assert not Path("/dev/vfio", str(number)).exists()
        return Scene(
            [],
            [
                Actor(f"probe {function}", uses.driver_probed(function.bus, function.address))
                for function in two_free_of_a_group
            ],
        )

    def judge(_: Round) -> str | None:
        drivers = [function.driver for function in two_free_of_a_group]
        if drivers != ["vfio-pci", "vfio-pci"]:
            return f"the functions are bound to {drivers}"
        groups = group_names() - before
        if groups != {str(number)}:
            return f"groups {groups} came into being, not one of number {number}"
        return unusable(racer, number, two_free_of_a_group)

    with free(*first.siblings()), Racer() as racer:
        before = group_names()
        with bound_to(first), bound_to(second):
            for function in two_free_of_a_group:
                set_driver_override(function, "vfio-pci")
            raced(racer, scene, {("ok+ok", "ok+ok")}, judge, window_ns=PROBES_NS)


def group_names() -> set[str]:
    """The groups that VFIO shows in sysfs."""
    return {path.name for path in Path("/sys/class/vfio").iterdir()}


def unusable(racer: Racer, number: int, functions: list[PciFunction]) -> str | None:
    """What is wrong with the new group: both devices have to be had from it, together."""
    legacy = uses.group_path(number)
    users = [
        Actor(f"open {function}", uses.device_opened(legacy.group, function.address))
        for function in functions
    ]
    played = racer.round(legacy.steps, users, legacy.closing)
    if played.outcome == ("ok", "ok"):
        return None
    return f"opening both devices of the new group gave {played.outcome}"
