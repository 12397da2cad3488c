"""What a display shows: its planes, as a region or as dma-bufs, and what its monitor can do.

Source: linux/vfio.h, VFIO_DEVICE_QUERY_GFX_PLANE, VFIO_DEVICE_GET_GFX_DMABUF and
``struct vfio_region_gfx_edid``.
"""

from dataclasses import dataclass

from vfio_hw.uapi import ffi, ioctl, lib, struct
from vfio_hw.vfio.descriptor import errno_of
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.dmabuf import DmaBuf
from vfio_hw.vfio.region import Region

PROBE: int = lib.VFIO_GFX_PLANE_TYPE_PROBE
DMABUF: int = lib.VFIO_GFX_PLANE_TYPE_DMABUF
REGION: int = lib.VFIO_GFX_PLANE_TYPE_REGION
#: ``enum drm_plane_type`` of the kernel, DRM_PLANE_TYPE_*.
OVERLAY, PRIMARY, CURSOR = range(3)
#: The coordinates of a hotspot that is not known. Source: note 2 of VFIO_DEVICE_QUERY_GFX_PLANE.
NO_HOTSPOT = 0xFFFFFFFF


@dataclass(frozen=True)
class Plane:
    """What VFIO_DEVICE_QUERY_GFX_PLANE says; a plane that is off has no format, size and extent.

    ``stride`` and ``size`` are bytes; ``identity`` is the region's index or the dma-buf's id;
    ``x_hot`` and ``y_hot`` are :data:`NO_HOTSPOT` where nothing is known of a hotspot.
    """

    drm_format: int
    drm_format_mod: int
    width: int
    height: int
    stride: int
    size: int
    x_pos: int
    y_pos: int
    x_hot: int
    y_hot: int
    identity: int


def query_plane(device: Device, flags: int, plane: int = PRIMARY) -> Plane:
    """VFIO_DEVICE_QUERY_GFX_PLANE, as it is; of a PROBE only that it returns says something.

    :param flags: DMABUF or REGION, and PROBE to ask only whether that is supported.
    :raises KernelRefused: EINVAL for what is not supported, ENOTTY when the device is no display.
    """
    info = struct("vfio_device_gfx_plane_info", flags=flags, drm_plane_type=plane)
    ioctl(device.fileno(), "VFIO_DEVICE_QUERY_GFX_PLANE", info, on=device.name)
    return Plane(
        drm_format=info.drm_format,
        drm_format_mod=info.drm_format_mod,
        width=info.width,
        height=info.height,
        stride=info.stride,
        size=info.size,
        x_pos=info.x_pos,
        y_pos=info.y_pos,
        x_hot=info.x_hot,
        y_hot=info.y_hot,
        identity=info.dmabuf_id,
    )


query_plane_errno = errno_of(query_plane)


def gfx_dmabuf(device: Device, identity: int) -> DmaBuf:
    """The dma-buf of a plane, by the id that the query gave.

    :raises KernelRefused: ENOENT for an id that was never given, ENOTTY without dma-bufs.
    """
    number = ffi.new("uint32_t *", identity)
    fd = ioctl(device.fileno(), "VFIO_DEVICE_GET_GFX_DMABUF", number, on=device.name)
    return DmaBuf(fd, f"dma-buf {identity} of {device.name}")


gfx_dmabuf_errno = errno_of(gfx_dmabuf)


@dataclass(frozen=True)
class Edid:
    """The region through which a display is told of its monitor."""

    region: Region

    def get(self, member: str) -> int:
        """A member of ``struct vfio_region_gfx_edid``."""
        return self.region.get(_offset(member), 4)

    def put(self, member: str, value: int) -> None:
        """Write a member; only ``edid_size`` and ``link_state`` take it."""
        self.region.put(_offset(member), 4, value)

    def read_blob(self, count: int) -> bytes:
        """The first bytes of the EDID."""
        return self.region.read(self.get("edid_offset"), count)

    def write_blob(self, data: bytes) -> None:
        """Write the first bytes of the EDID."""
        self.region.write(self.get("edid_offset"), data)


def edid_of(device: Device) -> Edid | None:
    """The EDID region of the device; None when it has none."""
    for index in range(device.info().num_regions):
        region = device.region(index)
        if region.kind == (lib.VFIO_REGION_TYPE_GFX, lib.VFIO_REGION_SUBTYPE_GFX_EDID):
            return Edid(region)
    return None


def _offset(member: str) -> int:
    return int(ffi.offsetof("struct vfio_region_gfx_edid", member))
