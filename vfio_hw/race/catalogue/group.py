"""Operations on a group and its container, up to the open of a device through them."""

import os

from vfio_hw.race.catalogue.effects import (
    BOUND,
    CLOSED_CONTAINER,
    CLOSED_GROUP,
    GONE,
    OPENED_DEVICE,
    OPENED_GROUP,
    SET,
    UNLOADED,
    UNSET,
    cut_off,
    loses,
    resets,
)
from vfio_hw.race.catalogue.entry import Operation, alone, legal
from vfio_hw.race.catalogue.scenes import device_opened
from vfio_hw.race.catalogue.subject import World
from vfio_hw.race.program import Slot, Step, close, ioctl, openat, pointer_to
from vfio_hw.uapi import lib, struct

#: How long what was got is kept: long enough for others to come upon it.
HOLD_NS = 200_000

_IN_CONTAINER = ("container", "guest")
_REVOKED = "vfio_device_remove_group() takes the last device's group out of its container"


def open_group(world: World) -> tuple[Step, ...]:
    """Opens the group, and closes it again."""
    group = Slot("group of the opener")
    opening = openat(world.subject.group_node, os.O_RDWR, into=group, decisive=True)
    return opening, close(group, delay_ns=HOLD_NS)


def _set_container(world: World) -> tuple[Step, ...]:
    return (_into(world, decisive=True), _out_of(world))


def _set_iommu(world: World) -> tuple[Step, ...]:
    return _into(world), _given_iommu(world), _out_of(world)


def joined(world: World) -> tuple[Step, ...]:
    """Takes the group into the container, which gets its IOMMU."""
    return _into(world, decisive=True), _given_iommu(world)


def left(world: World) -> Step:
    """Takes the group out of its container."""
    return _out_of(world, decisive=True)


def _into(world: World, *, decisive: bool = False) -> Step:
    container = pointer_to(world.container)
    return ioctl(world.group, "VFIO_GROUP_SET_CONTAINER", container, decisive=decisive)


def _given_iommu(world: World) -> Step:
    return ioctl(world.container, "VFIO_SET_IOMMU", lib.VFIO_TYPE1v2_IOMMU, decisive=True)


def _out_of(world: World, *, decisive: bool = False) -> Step:
    return ioctl(world.group, "VFIO_GROUP_UNSET_CONTAINER", decisive=decisive)


def get_device_fd(world: World) -> tuple[Step, ...]:
    """Gets a descriptor of the device from its group, and closes it again."""
    return (
        device_opened(world, decisive=True),
        close(world.device, delay_ns=HOLD_NS),
    )


#: What may come of the open of a group.
OPENING = (
    alone()
    + legal(
        "ENODEV ENXIO ENOENT",
        "the node is gone, its cdev is, or vfio_group_fops_open() finds no driver",
        under=GONE,
    )
    + legal("EBUSY", "vfio_group_fops_open(): one opener at a time", under=OPENED_GROUP)
    + legal("EBUSY", "vfio_device_block_group(): group and cdev exclude each other", under=BOUND)
)
#: What may come of a request for a descriptor of its device.
GETTING = (
    alone()
    + legal(
        "ENODEV",
        "vfio_device_get_from_name() finds the device with a reference, or not at all",
        under=GONE,
    )
    + legal("ENODEV", "vfio_df_open(): its module is going, try_module_get()", under=UNLOADED)
    + legal("EINVAL", "vfio_df_group_open(): the group has no container", under=UNSET)
    + loses(CLOSED_GROUP)
    + resets()
)
#: What may come of taking it out of its container.
LEAVING = (
    alone()
    + legal("EINVAL", f"the group is in no container: {_REVOKED}", under=GONE)
    + legal("EINVAL", "the group left it before", under=UNSET)
    + legal("EBUSY", "vfio_group_ioctl_unset_container(): it has users", under=OPENED_DEVICE)
    + loses(CLOSED_GROUP)
)

OPERATIONS = (
    Operation(
        "open_group",
        ("nothing", "iommufd"),
        open_group,
        OPENING,
        does=frozenset({OPENED_GROUP}),
    ),
    Operation(
        "VFIO_GROUP_GET_STATUS",
        ("container", "group"),
        lambda world: [
            ioctl(world.group, "VFIO_GROUP_GET_STATUS", struct("vfio_group_status"), decisive=True)
        ],
        alone()
        + legal("ENODEV", f"no group is left: {_REVOKED}", under=GONE)
        + loses(CLOSED_GROUP),
    ),
    Operation(
        "VFIO_GROUP_SET_CONTAINER",
        ("group",),
        _set_container,
        alone()
        + legal("ENODEV", "vfio_group_ioctl_set_container(): no IOMMU group is left", under=GONE)
        + legal("EINVAL", "the group is in a container", under=SET)
        + cut_off()
        + loses(CLOSED_GROUP, CLOSED_CONTAINER),
        does=frozenset({SET, UNSET}),
    ),
    Operation(
        "VFIO_SET_IOMMU",
        ("group",),
        _set_iommu,
        alone()
        + legal("EINVAL", f"the container has no group: {_REVOKED}", under=GONE)
        + legal("EINVAL", "the container has no group, it is closed", under=CLOSED_GROUP)
        + legal("EINVAL", "the container has no group, it left", under=UNSET)
        + cut_off()
        + loses(CLOSED_CONTAINER),
        does=frozenset({SET, UNSET}),
    ),
    Operation(
        "VFIO_GROUP_UNSET_CONTAINER",
        _IN_CONTAINER,
        lambda world: [left(world)],
        LEAVING,
        does=frozenset({UNSET}),
    ),
    Operation(
        "VFIO_GROUP_GET_DEVICE_FD",
        _IN_CONTAINER,
        get_device_fd,
        GETTING,
        does=frozenset({OPENED_DEVICE}),
    ),
    Operation(
        "VFIO_CHECK_EXTENSION",
        ("container", "legacy"),
        lambda world: [
            ioctl(world.container, "VFIO_CHECK_EXTENSION", lib.VFIO_TYPE1v2_IOMMU, decisive=True)
        ],
        alone() + loses(CLOSED_CONTAINER),
    ),
    Operation(
        "close_group",
        ("container", "legacy", "guest", "guest_open"),
        lambda world: [close(world.group, decisive=True)],
        alone(),
        does=frozenset({CLOSED_GROUP}),
    ),
    Operation(
        "close_container",
        ("container", "legacy", "guest"),
        lambda world: [close(world.container, decisive=True)],
        alone(),
        does=frozenset({CLOSED_CONTAINER}),
    ),
)
