"""Operations on the picture of a display."""

from collections.abc import Sequence

from vfio_hw.devices import mbochs
from vfio_hw.race.calls import pwrite
from vfio_hw.race.catalogue.device import IN_USE, on_device
from vfio_hw.race.catalogue.entry import Operation
from vfio_hw.race.catalogue.subject import World
from vfio_hw.race.program import Slot, Step, ioctl, memory
from vfio_hw.uapi import lib, struct

#: The kernel's number of the plane that is the picture; enum drm_plane_type.
_PRIMARY = 1
# Pixels, either way: mbochs_check_framebuffer() refuses less, and each round of a larger one would
# take more memory with it for good: docs/finds/mbochs-leaks-framebuffers.md.
_SMALLEST = 64


def _query(world: World, flags: int, *, decisive: bool, identity: Slot | None = None) -> Step:
    info = struct("vfio_device_gfx_plane_info", flags=flags, drm_plane_type=_PRIMARY)
    request = memory(info, loads={} if identity is None else {"dmabuf_id": identity})
    return ioctl(world.device, "VFIO_DEVICE_QUERY_GFX_PLANE", request, decisive=decisive)


def _way(world: World) -> int:
    dmabuf = world.subject.kind == "mbochs"
    return int(lib.VFIO_GFX_PLANE_TYPE_DMABUF if dmabuf else lib.VFIO_GFX_PLANE_TYPE_REGION)


def plane(world: World) -> Sequence[Step]:
    """Asks for the picture, as the display has it: a region or a dma-buf.

    mbochs has one once it has a mode, and for the first question for that an errno in any case:
    docs/finds/mbochs-first-query-of-a-mode.md.
    """
    asked = _query(world, _way(world), decisive=True)
    if world.subject.kind != "mbochs":
        return (asked,)
    bar = world.subject.regions[lib.VFIO_PCI_BAR2_REGION_INDEX]
    mode = [
        pwrite(world.device, value.to_bytes(2, "little"), bar + place)
        for place, value in mbochs.mode(_SMALLEST, _SMALLEST)
    ]
    return (*mode, _query(world, _way(world), decisive=False), asked)


def supported(world: World) -> Sequence[Step]:
    """Asks whether the display offers its picture in the way that it does."""
    return (_query(world, _way(world) | lib.VFIO_GFX_PLANE_TYPE_PROBE, decisive=True),)


OPERATIONS: tuple[Operation, ...] = (
    on_device("VFIO_DEVICE_QUERY_GFX_PLANE", plane, kinds=("mdpy", "mbochs"), scenes=IN_USE),
    on_device("GFX_PLANE_PROBE", supported, kinds=("mdpy", "mbochs"), scenes=IN_USE),
)
