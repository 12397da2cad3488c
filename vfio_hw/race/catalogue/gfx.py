"""Operations on the picture of a display."""

from collections.abc import Sequence

from vfio_hw.race.catalogue.device import IN_USE, on_device
from vfio_hw.race.catalogue.entry import Operation
from vfio_hw.race.catalogue.subject import World
from vfio_hw.race.program import Slot, Step, ioctl, memory
from vfio_hw.uapi import lib, struct

#: The kernel's number of the plane that is the picture; enum drm_plane_type.
_PRIMARY = 1


def _query(world: World, flags: int, *, decisive: bool, identity: Slot | None = None) -> Step:
    info = struct("vfio_device_gfx_plane_info", flags=flags, drm_plane_type=_PRIMARY)
    request = memory(info, loads={} if identity is None else {"dmabuf_id": identity})
    return ioctl(world.device, "VFIO_DEVICE_QUERY_GFX_PLANE", request, decisive=decisive)


def plane(world: World) -> Sequence[Step]:
    """Asks for the picture, as the display has it: a region or a dma-buf."""
    dmabuf = world.subject.kind == "mbochs"
    flags = lib.VFIO_GFX_PLANE_TYPE_DMABUF if dmabuf else lib.VFIO_GFX_PLANE_TYPE_REGION
    return (_query(world, flags, decisive=True),)


def supported(world: World) -> Sequence[Step]:
    """Asks whether the display offers its picture in the way that it does."""
    dmabuf = world.subject.kind == "mbochs"
    flags = lib.VFIO_GFX_PLANE_TYPE_DMABUF if dmabuf else lib.VFIO_GFX_PLANE_TYPE_REGION
    return (_query(world, flags | lib.VFIO_GFX_PLANE_TYPE_PROBE, decisive=True),)


OPERATIONS: tuple[Operation, ...] = (
    on_device("VFIO_DEVICE_QUERY_GFX_PLANE", plane, kinds=("mdpy",), scenes=IN_USE),
    on_device("GFX_PLANE_PROBE", supported, kinds=("mdpy", "mbochs"), scenes=IN_USE),
)
