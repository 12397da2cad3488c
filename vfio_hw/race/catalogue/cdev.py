"""Operations on a device's own node: open, bind, attach, detach."""

import os

from vfio_hw.race.catalogue.effects import (
    BOUND,
    CLOSED_DEVICE,
    CLOSED_IOMMUFD,
    DETACHED,
    GONE,
    OPENED_GROUP,
    UNLOADED,
    cut_off,
    loses,
    resets,
)
from vfio_hw.race.catalogue.entry import Legal, Operation, alone, legal
from vfio_hw.race.catalogue.group import HOLD_NS
from vfio_hw.race.catalogue.subject import World
from vfio_hw.race.program import Slot, Step, close, ioctl, memory, openat
from vfio_hw.uapi import struct

_NO_NODE = (
    "the node is gone (ENOENT), its cdev (ENXIO), or vfio_device_try_get_registration() fails"
)
_GROUP_OPEN = "vfio_device_block_group(): group and cdev exclude each other"


def open_cdev(world: World) -> tuple[Step, ...]:
    """Opens the node, and closes it again."""
    device = Slot("cdev of the opener")
    opening = openat(world.subject.node, os.O_RDWR, into=device, decisive=True)
    return opening, close(device, delay_ns=HOLD_NS)


def bound(world: World, device: Slot, iommufd: Slot, *, decisive: bool = True) -> Step:
    """VFIO_DEVICE_BIND_IOMMUFD."""
    request = memory(struct("vfio_device_bind_iommufd"), stores={"iommufd": iommufd})
    return ioctl(device, "VFIO_DEVICE_BIND_IOMMUFD", request, decisive=decisive)


def open_and_bind(world: World) -> tuple[Step, ...]:
    """Opens the node, binds it to an iommufd of its own, and closes both again."""
    device, iommufd = Slot("cdev of the binder"), Slot("iommufd of the binder")
    return (
        openat("/dev/iommu", os.O_RDWR, into=iommufd),
        openat(world.subject.node, os.O_RDWR, into=device, decisive=True),
        bound(world, device, iommufd),
        close(device, delay_ns=HOLD_NS),
        close(iommufd),
    )


def attached(world: World, *, decisive: bool = True) -> Step:
    """VFIO_DEVICE_ATTACH_IOMMUFD_PT to the scene's address space."""
    request = memory(struct("vfio_device_attach_iommufd_pt"), stores={"pt_id": world.ioas})
    return ioctl(world.device, "VFIO_DEVICE_ATTACH_IOMMUFD_PT", request, decisive=decisive)


def detached(world: World, *, decisive: bool = True) -> Step:
    """VFIO_DEVICE_DETACH_IOMMUFD_PT."""
    request = struct("vfio_device_detach_iommufd_pt")
    return ioctl(world.device, "VFIO_DEVICE_DETACH_IOMMUFD_PT", request, decisive=decisive)


def _binding(before: str) -> tuple[Legal, ...]:
    """What may come of a bind, after the outcome of the open before it."""
    return (
        legal(f"{before}EBUSY", _GROUP_OPEN, under=OPENED_GROUP)
        + legal(f"{before}EINVAL", "vfio_df_open(): a device is bound once at a time", under=BOUND)
        + legal(f"{before}ENODEV", "vfio_df_open(): try_module_get()", under=UNLOADED)
        + resets(f"{before}EAGAIN")
    )


#: What may come of opening the node and binding it.
OPENING_AND_BINDING = (
    alone("ok+ok")
    + legal("ENODEV+skipped ENXIO+skipped ENOENT+skipped", _NO_NODE, under=GONE)
    + _binding("ok+")
)

OPERATIONS = (
    Operation(
        "open_cdev",
        ("iommufd", "nothing", "container", "node", "cdev", "legacy"),
        open_cdev,
        alone() + legal("ENODEV ENXIO ENOENT", _NO_NODE, under=GONE),
    ),
    Operation(
        "open_cdev_and_VFIO_DEVICE_BIND_IOMMUFD",
        ("nothing",),
        open_and_bind,
        OPENING_AND_BINDING,
        does=frozenset({BOUND}),
    ),
    Operation(
        "VFIO_DEVICE_BIND_IOMMUFD",
        ("node",),
        lambda world: [bound(world, world.device, world.iommufd)],
        alone() + loses(CLOSED_DEVICE, CLOSED_IOMMUFD) + _binding(""),
        does=frozenset({BOUND}),
    ),
    Operation(
        "VFIO_DEVICE_ATTACH_IOMMUFD_PT",
        ("cdev",),
        lambda world: [attached(world)],
        alone() + loses(CLOSED_DEVICE) + cut_off(),
    ),
    Operation(
        "VFIO_DEVICE_DETACH_IOMMUFD_PT",
        ("cdev",),
        lambda world: [detached(world)],
        alone() + loses(CLOSED_DEVICE),
        does=frozenset({DETACHED}),
    ),
)
