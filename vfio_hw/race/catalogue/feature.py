"""Operations by VFIO_DEVICE_FEATURE on PCI functions: low power, dma-bufs."""

import os
from collections.abc import Sequence

from vfio_hw.race.catalogue.device import IN_USE, on_device
from vfio_hw.race.catalogue.effects import CLOSED_DEVICE, REACHED, SLEEPS, loses
from vfio_hw.race.catalogue.entry import PCI, Operation, alone, legal
from vfio_hw.race.catalogue.subject import World
from vfio_hw.race.program import Memory, Slot, Step, close, ioctl
from vfio_hw.uapi import ffi, lib, struct
from vfio_hw.vfio.dma import PAGE

GET: int = lib.VFIO_DEVICE_FEATURE_GET
SET: int = lib.VFIO_DEVICE_FEATURE_SET
PROBE: int = lib.VFIO_DEVICE_FEATURE_PROBE
_HEAD = ffi.sizeof("struct vfio_device_feature")


def feature(
    device: Slot,
    flags: int,
    data: bytes | Memory = b"",
    *,
    into: Slot | None = None,
    decisive: bool = False,
) -> Step:
    """VFIO_DEVICE_FEATURE, as it is."""
    data = Memory(data) if isinstance(data, bytes) else data
    head = struct("vfio_device_feature", flags=flags, data=data.content)
    pointers = {_HEAD + at: other for at, other in data.pointers.items()}
    request = Memory(bytes(ffi.buffer(head)), pointers=pointers)
    return ioctl(device, "VFIO_DEVICE_FEATURE", request, into=into, decisive=decisive)


def probed(world: World) -> Sequence[Step]:
    """Asks whether the device has a feature that it has."""
    flags = lib.VFIO_DEVICE_FEATURE_LOW_POWER_EXIT | PROBE | SET
    return (feature(world.device, flags, decisive=True),)


def slept(world: World) -> Sequence[Step]:
    """Lets the device sleep, and wakes it."""
    return (
        feature(world.device, lib.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY | SET, decisive=True),
        feature(world.device, lib.VFIO_DEVICE_FEATURE_LOW_POWER_EXIT | SET),
    )


def woken(world: World) -> Sequence[Step]:
    """Wakes a device that was let sleep."""
    return (
        feature(world.device, lib.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY | SET),
        feature(world.device, lib.VFIO_DEVICE_FEATURE_LOW_POWER_EXIT | SET, decisive=True),
    )


def exported(world: World) -> Sequence[Step]:
    """Makes a dma-buf of the first page of BAR 0, and closes it."""
    request = struct(
        "vfio_device_feature_dma_buf",
        region_index=lib.VFIO_PCI_BAR0_REGION_INDEX,
        open_flags=os.O_RDWR | os.O_CLOEXEC,
        nr_ranges=1,
        dma_ranges=[{"offset": 0, "length": PAGE}],
    )
    buffer = Slot("dma-buf")
    flags = lib.VFIO_DEVICE_FEATURE_DMA_BUF | GET
    data = bytes(ffi.buffer(request))
    return (feature(world.device, flags, data, into=buffer, decisive=True), close(buffer))


_ASLEEP = "linux/vfio.h: EINVAL while low power is allowed already"

OPERATIONS = (
    on_device("VFIO_DEVICE_FEATURE_PROBE", probed, kinds=PCI),
    Operation(
        "VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY",
        IN_USE,
        slept,
        alone() + loses(CLOSED_DEVICE) + legal("EINVAL", _ASLEEP, under=SLEEPS),
        frozenset({SLEEPS, REACHED}),
        PCI,
    ),
    Operation(
        "VFIO_DEVICE_FEATURE_LOW_POWER_EXIT",
        IN_USE,
        woken,
        alone() + loses(CLOSED_DEVICE),
        frozenset({SLEEPS, REACHED}),
        PCI,
    ),
    on_device("VFIO_DEVICE_FEATURE_DMA_BUF", exported, kinds=PCI, does=frozenset({REACHED})),
)
