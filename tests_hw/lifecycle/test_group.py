"""This file checks that a group's node, its sysfs entry and its minor are there together (P4)."""

import errno
import os
import stat
from pathlib import Path

import pytest

from vfio_hw.host.mdev import Mdev, created, type_by_id
from vfio_hw.vfio.descriptor import errno_of
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.opened import opened

NODES, ENTRIES, MINORS = Path("/dev/vfio"), Path("/sys/class/vfio"), Path("/sys/dev/char")

WATCHED = 0.5
PROMPT = 5.0


def groups() -> set[tuple[str, str, str]]:
    """Every node, entry and minor of a group: what it is, the group's name, the device number.

    A minor in use shows as a link from the device number to the entry.
    """
    nodes = [path for path in NODES.iterdir() if path.is_char_device() and path.name != "vfio"]
    entries = list(ENTRIES.iterdir())
    minors = [path for path in MINORS.iterdir() if path.resolve().parent.name == ENTRIES.name]
    return {
        *(("node", path.name, number_of(path)) for path in nodes),
        *(("entry", path.name, (path / "dev").read_text().strip()) for path in entries),
        *(("minor", path.resolve().name, path.name) for path in minors),
    }


def number_of(node: Path) -> str:
    """The device number of a node as sysfs writes it, ``240:0``."""
    number = node.stat().st_rdev
    return f"{os.major(number)}:{os.minor(number)}"


def whole(mdev: Mdev) -> set[tuple[str, str, str]]:
    """All three of the device's group, under one device number."""
    name = str(mdev.iommu_group)
    number = (ENTRIES / name / "dev").read_text().strip()
    return {(kind, name, number) for kind in ("node", "entry", "minor")}


@pytest.mark.promise("P4")
def test_node_entry_and_minor_come_with_the_device_and_go_with_it():
    before = groups()
    with created(type_by_id("mtty-1")) as mdev:
        assert groups() - before == whole(mdev)
        mdev.remove(PROMPT)
        assert groups() == before


@pytest.mark.promise("P4")
def test_node_entry_and_minor_stay_while_the_removal_waits():
    """The group goes after its last device, and that one after its last descriptor."""
    before = groups()
    with created(type_by_id("mtty-1")) as mdev:
        expected = whole(mdev)
        with opened(mdev.path, "vfio_type1v2_iommu") as user, mdev.removal() as removal:
            assert removal.wait(WATCHED) is None
            assert groups() - before == expected
            user.device.close()
            removal.must_return(PROMPT)
            # The group itself is still open here, and has no name any more.
            assert groups() == before


@pytest.mark.promise("P4")
def test_a_group_whose_last_device_is_gone_is_not_opened(tmp_path):
    """A node of one's own leads to the group for as long as somebody has it open there."""
    own = tmp_path / "node"
    with created(type_by_id("mtty-1")) as mdev:
        number = (NODES / str(mdev.iommu_group)).stat().st_rdev
        os.mknod(own, stat.S_IFCHR | 0o600, number)
        with Group(str(own)):
            assert errno_of(Group)(str(own)) == errno.EBUSY
            mdev.remove(PROMPT)
            assert errno_of(Group)(str(own)) == errno.ENODEV
        assert errno_of(Group)(str(own)) == errno.ENXIO
