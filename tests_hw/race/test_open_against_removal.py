"""This file checks that an open races the removal of its device to all or nothing (P1, P4).

Either the open wins, and the removal returns once the descriptor is closed; or the removal wins,
and the open is refused.  Nothing third, no wait too short or too long, and no splat.
"""

import os
from pathlib import Path

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.host.binding import rebind
from vfio_hw.host.mdev import Mdev, type_by_id
from vfio_hw.race import uses
from vfio_hw.race.judges import one_holder, removal_in_time
from vfio_hw.race.outcome import Round
from vfio_hw.race.program import Slot, close, openat
from vfio_hw.race.racer import Actor, Racer
from vfio_hw.race.spread import Scene

# How far apart opening and removal may start and still meet.  e1000e sleeps in D3 while nobody has
# it open, so whoever comes first has to wake it, and opening it resets it: over 10 ms each.
WINDOW_NS = {"mtty": 1_500_000, "edu": 3_000_000, "e1000e": 40_000_000}

# vfio_device_get_from_name() finds the device on its group's list with a reference, or not at all.
GROUP_PATH = {"ok", "ENODEV"}

# The node may be gone (ENOENT), its cdev unplugged while the node was looked up (ENXIO), or the
# registration no longer to be had (ENODEV).  Once open, the descriptor holds the registration, so
# that BIND succeeds however far the removal has come.
CDEV_PATH = {"ok+ok", "ENODEV+skipped", "ENXIO+skipped", "ENOENT+skipped"}


def disruption(target: Target) -> Actor:
    """What takes the device away, by the kind of its bus."""
    if isinstance(target.handle, Mdev):
        return Actor("mdev remove", uses.mdev_removed(target.path))
    return Actor("driver unbind", uses.driver_unbound(target.path, target.name))


def legal(target: Target, openings: set[str], busy: str) -> set[tuple[str, str]]:
    """The removal succeeds; the opening ends in one of ``openings``.

    Opening a function that can be reset tries to reset it, and says EAGAIN (``busy``) while the
    unbinding holds the device's lock: vfio_pci_core_enable(), pci_try_reset_function().
    """
    resets = (target.path / "reset").exists()
    return {(opening, "ok+ok") for opening in openings | ({busy} if resets else set())}


def waited_for(played: Round) -> str | None:
    """Judges the first actor, who opens the device, and the second, who takes it away."""
    user, (_, removal, _) = played.actors
    return removal_in_time(removal, user)


def restored(target: Target) -> None:
    """Brings the device back that the round before took away."""
    if isinstance(target.handle, Mdev):
        if not target.handle.exists:
            type_by_id("mtty-1").create(target.handle.uuid)
    else:
        rebind(target.handle, "vfio-pci")


def cdev_node(target: Target) -> Path:
    """The device's node; its number may change each time the device comes back."""
    (entry,) = (target.path / "vfio-dev").iterdir()
    return Path("/dev/vfio/devices", entry.name)


@pytest.mark.promise("P1")
def test_a_device_is_got_from_its_group_whole_or_not_at_all(device: Target, raced):
    """GET_DEVICE_FD against the removal of the device."""

    def scene() -> Scene:
        restored(device)
        legacy = uses.group_path(device.iommu_group)
        opener = Actor("VFIO_GROUP_GET_DEVICE_FD", uses.device_opened(legacy.group, device.name))
        return Scene(legacy.steps, [opener, disruption(device)], legacy.closing)

    with Racer() as racer:
        outcomes = legal(device, GROUP_PATH, "EAGAIN")
        raced(racer, scene, outcomes, waited_for, window_ns=WINDOW_NS[device.kind], device=device)


@pytest.mark.promise("P1")
def test_a_character_device_is_bound_whole_or_not_at_all(device: Target, raced):
    """Open of the cdev and BIND_IOMMUFD against the removal of the device."""

    def scene() -> Scene:
        restored(device)
        iommufd = Slot("iommufd")
        opener = Actor("cdev open + BIND", uses.cdev_bound(cdev_node(device), iommufd))
        prologue = [openat("/dev/iommu", os.O_RDWR, into=iommufd)]
        return Scene(prologue, [opener, disruption(device)], [close(iommufd)])

    with Racer() as racer:
        outcomes = legal(device, CDEV_PATH, "ok+EAGAIN")
        raced(racer, scene, outcomes, waited_for, window_ns=WINDOW_NS[device.kind], device=device)


@pytest.mark.promise("P4")
def test_a_dying_group_is_opened_whole_or_not_at_all(mtty: Mdev, raced):
    """Open of the group, against its last close, against the removal that makes it go."""
    target = Target("mtty", mtty.uuid, mtty.path, mtty)

    def scene() -> Scene:
        restored(target)
        number = target.iommu_group
        group = Slot("held group")
        held = [openat(f"/dev/vfio/{number}", os.O_RDWR, into=group)]
        closer = Actor("last close", [close(group, decisive=True)])
        opener = Actor("group open", uses.group_opened(number))
        # Actors go round the CPUs in this order: of two CPUs the removal, which takes longest, has
        # the second to itself, and the two short programs share the first.
        return Scene(held, [opener, disruption(target), closer])

    def judge(played: Round) -> str | None:
        """A group that is open is no open device: the removal does not wait for it."""
        opener, (_, removal, _), closer = played.actors
        holder = (*played.prologue, *closer)
        return one_holder(holder, opener) or removal_in_time(removal)

    # EBUSY while the first opener still has it, then open, then dying (ENODEV), then gone.
    outcomes = {(opened, "ok+ok", "ok") for opened in ("ok", "EBUSY", "ENODEV", "ENXIO", "ENOENT")}
    with Racer() as racer:
        raced(racer, scene, outcomes, judge, window_ns=WINDOW_NS["mtty"], device=target)
