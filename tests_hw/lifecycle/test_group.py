"""This file checks that a group's node, its entry in sysfs and its minor are there together (P4)."""

import os
import stat
from pathlib import Path

import pytest

from vfio_hw.host.mdev import Mdev, created, type_by_id
from vfio_hw.vfio.opened import opened

NODES, ENTRIES, MINORS = Path("/dev/vfio"), Path("/sys/class/vfio"), Path("/sys/dev/char")

WATCHED = 0.5
PROMPT = 2.0


def groups() -> set[tuple[str, str, str]]:
    """Name and device number of each group, and what it is: node, entry or minor.

    A minor is shown by the kernel as a link from its number to the entry that has it.
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
    found = node.stat()
    assert stat.S_ISCHR(found.st_mode)
    return f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"


def whole(mdev: Mdev) -> set[tuple[str, str, str]]:
    """A group of that device's own with all that belongs to it, under one number."""
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
