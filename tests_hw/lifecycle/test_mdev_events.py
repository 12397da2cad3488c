"""This file checks that a parent tells when mediated devices can be had of it, and when no more.

Source: the commit "vfio/mdev: Send uevents around parent device registration" (P3, P8).
"""

from pathlib import Path

import pytest

from vfio_hw.host import modules
from vfio_hw.host.mdev import CLASS, created, type_by_id
from vfio_hw.host.uevents import Uevent, Uevents, listening

PARENTS = {"mtty": "mtty-1", "mdpy": "mdpy-vga", "mbochs": "mbochs-small"}
PROMPT = 5.0


@pytest.fixture(params=list(PARENTS))
def parent(request, own_modules) -> Path:
    """The device of each sample driver, which the test may unload, in sysfs."""
    path = (CLASS / type_by_id(PARENTS[request.param]).parent).resolve()
    assert path.name == request.param
    return path


def states(uevents: Uevents, parent: Path, last: str) -> list[str]:
    """What the parent said of its mediated devices, up to ``last``."""
    heard = uevents.until(Uevent("change", parent, {"MDEV_STATE": last}), PROMPT)
    of_parent = [each for each in heard if each.path == parent and "MDEV_STATE" in each.properties]
    assert {each.action for each in of_parent} <= {"change"}
    return [each.properties["MDEV_STATE"] for each in of_parent]


@pytest.mark.promise("P8")
def test_a_parent_tells_that_it_has_types_and_that_they_are_gone(parent):
    """Once each; when it says that it is registered, they are there."""
    with listening() as uevents:
        modules.unload(parent.name)
        assert states(uevents, parent, "unregistered") == ["unregistered"]
        assert not (CLASS / parent.name).exists()
        modules.load(parent.name)
        assert states(uevents, parent, "registered") == ["registered"]
        assert type_by_id(PARENTS[parent.name]).available_instances > 0


@pytest.mark.promise("P3")
def test_a_parent_tells_that_it_is_gone_when_its_devices_are(parent):
    """Their removal is told before, and they come and go without a word of the parent's."""
    with created(type_by_id(PARENTS[parent.name])) as mdev, listening() as uevents:
        path = mdev.path.resolve()
        with created(type_by_id(PARENTS[parent.name])):
            pass
        modules.unload(parent.name)
        gone = uevents.until(Uevent("remove", path, {}), PROMPT)
        assert [each for each in gone if "MDEV_STATE" in each.properties] == []
        assert (gone[-1].action, gone[-1].path) == ("remove", path)
        assert states(uevents, parent, "unregistered") == ["unregistered"]
