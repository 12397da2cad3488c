"""Operations on the parent of a mediated device: another is created, those left are counted."""

import os
import uuid
from collections.abc import Sequence
from pathlib import Path

from vfio_hw.host.mdev import DEVICES
from vfio_hw.race.catalogue.effects import GONE, REMOVED, UNLOADED
from vfio_hw.race.catalogue.entry import MEDIATED, Operation, alone, legal
from vfio_hw.race.catalogue.subject import World
from vfio_hw.race.program import Slot, Step, close, openat, read, write_file

#: The type of which each kind of mediated device is made.
TYPES = {"mtty": "mtty-1", "mdpy": "mdpy-vga", "mbochs": "mbochs-small"}


def type_path(kind: str) -> Path:
    """The directory of the type, which does not go when a device of it does."""
    parent = {"mtty": "mtty", "mdpy": "mdpy", "mbochs": "mbochs"}[kind]
    return Path("/sys/class/mdev_bus", parent, "mdev_supported_types", TYPES[kind])


def created(world: World) -> Sequence[Step]:
    """Creates a second device of the type, and removes it."""
    identity = str(uuid.uuid4())
    create = write_file(type_path(world.subject.kind) / "create", identity.encode(), decisive=True)
    return *create, *write_file(DEVICES / identity / "remove", b"1")


def removed(world: World) -> Sequence[Step]:
    """Removes the device."""
    return write_file(DEVICES / world.subject.name / "remove", b"1", decisive=True)


def counted(world: World) -> Sequence[Step]:
    """Reads how many more devices can be created."""
    file = Slot("available_instances")
    return (
        openat(type_path(world.subject.kind) / "available_instances", os.O_RDONLY, into=file),
        read(file, 16, decisive=True),
        close(file),
    )


#: Of several who remove a device one does: the others find the attribute gone, or going.
ONE_REMOVES = legal(
    "ENOENT+skipped ENODEV+skipped ok+ENODEV",
    "mdev_device_remove(), or kernfs_get_active(): somebody else removes the device",
    under=GONE,
    kinds=MEDIATED,
)
_NO_PARENT = (
    "mdev_device_create(), or kernfs_get_active(): the parent goes (ENODEV), its directory is gone"
)

OPERATIONS = (
    Operation(
        "create_mdev",
        ("nothing", "legacy"),
        created,
        alone("ok+ok")
        + legal("ENOENT+skipped ENODEV+skipped ok+ENODEV", _NO_PARENT, under=UNLOADED),
        kinds=MEDIATED,
    ),
    Operation(
        "remove_mdev",
        ("nothing", "container"),
        removed,
        alone("ok+ok") + ONE_REMOVES,
        frozenset({REMOVED}),
        MEDIATED,
    ),
    Operation(
        "read_available_instances",
        ("nothing", "legacy"),
        counted,
        alone() + legal("ENODEV skipped", _NO_PARENT, under=UNLOADED),
        kinds=MEDIATED,
    ),
)
