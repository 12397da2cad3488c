"""A race that fails: it takes for illegal what is legal."""

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.host.mdev import type_by_id
from vfio_hw.race import uses
from vfio_hw.race.racer import Actor, Racer
from vfio_hw.race.spread import Scene

WINDOW_NS = 1_500_000


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
