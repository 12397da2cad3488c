"""Races that fail: each takes for illegal what is legal, and happens at an edge only."""

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.host.mdev import type_by_id
from vfio_hw.race import uses
from vfio_hw.race.catalogue.pairs import disruption_named, operation_named, together
from vfio_hw.race.catalogue.play import scene_of
from vfio_hw.race.catalogue.removal import restored
from vfio_hw.race.racer import Actor, Racer
from vfio_hw.race.spread import Scene

WINDOW_NS = 1_500_000
WIDE_NS = 10_000_000


@pytest.mark.promise("P1")
def test_a_legal_outcome_is_taken_for_illegal(mtty, raced):
    target = Target("mtty", mtty.uuid, mtty.path, mtty)

    def scene() -> Scene:
        if not mtty.exists:
            type_by_id("mtty-1").create(mtty.uuid)
        legacy = uses.group_path(mtty.iommu_group)
        opener = Actor("VFIO_GROUP_GET_DEVICE_FD", uses.device_opened(legacy.group, mtty.uuid))
        remover = Actor("mdev remove", uses.mdev_removed(mtty.path))
        return Scene(legacy.steps, [opener, remover], legacy.closing)

    with Racer() as racer:
        raced(racer, scene, {("ok", "ok+ok")}, window_ns=WINDOW_NS, device=target)


@pytest.mark.promise("P1")
@pytest.mark.parametrize(
    ("subject", "operations", "disruption", "illegal"),
    [
        # Maps memory of its own. The one that is decided is on another CPU than what decides it.
        (
            "edu",
            ["VFIO_IOMMU_MAP_DMA", "VFIO_IOMMU_GET_INFO"],
            "close_container_elsewhere",
            "skipped",
        ),
        # The function has to be found again for every round.
        ("edu", ["VFIO_GROUP_GET_DEVICE_FD"], "pci_remove", "ENODEV"),
        # Has to load the module again for every round.
        ("mtty", ["VFIO_GROUP_GET_DEVICE_FD"], "module_unload", "ENODEV"),
    ],
    ids=["mapped", "found_again", "loaded_again"],
    indirect=["subject"],
)
def test_what_a_disruption_does_is_taken_for_illegal(
    subject, operations, disruption, illegal, raced
):
    users = [operation_named(operation) for operation in operations]
    pair = together(users, disruption_named(disruption), subject.kind)

    def scene() -> Scene:
        restored(subject)
        return scene_of(pair, subject)

    legal = {outcome for outcome in pair.legal if outcome[0] != illegal}
    try:
        with Racer(deadline=20.0) as racer:
            raced(racer, scene, legal, window_ns=WIDE_NS, device=subject)
    finally:
        restored(subject)
