"""This file checks what displays say of their planes (P8).

Source: linux/vfio.h, VFIO_DEVICE_QUERY_GFX_PLANE. The numbers are compared with the registers that
describe the picture and with sysfs.
"""

import errno

import pytest

from vfio_hw.devices import mbochs as bochs
from vfio_hw.devices import mdpy as registers
from vfio_hw.devices.mbochs import Mode, shown
from vfio_hw.fixtures import Target
from vfio_hw.uapi import lib
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.dma import PAGE
from vfio_hw.vfio.gfx import (
    CURSOR,
    DMABUF,
    NO_HOTSPOT,
    OVERLAY,
    PROBE,
    REGION,
    Plane,
    gfx_dmabuf_errno,
    query_plane,
    query_plane_errno,
)
from vfio_hw.vfio.opened import opened

MODE = "vfio_type1v2_iommu"
MODES = [MODE, "iommufd"]
BAR0 = lib.VFIO_PCI_BAR0_REGION_INDEX
KIND = {"mdpy": REGION, "mbochs": DMABUF}
# Source: drm/drm_fourcc.h, DRM_FORMAT_XRGB8888 and DRM_FORMAT_MOD_LINEAR.
XRGB8888, LINEAR = int.from_bytes(b"XR24", "little"), 0
PIXEL = 4
VGA = Mode(640, 480)
#: Of the sizes that mbochs can show one that is no multiple of a page.
ODD = Mode(800, 600)


def off(plane: Plane) -> bool:
    """What a plane says that is disabled. Source: note 1 of VFIO_DEVICE_QUERY_GFX_PLANE."""
    return not (plane.drm_format or plane.size or plane.width or plane.height)


def plane_of(device: Device, kind: str, mode: Mode) -> Plane:
    """The primary plane of an open display; of mdpy, which has one mode, in that."""
    return shown(device, mode) if kind == "mbochs" else query_plane(device, REGION)


@pytest.fixture
def bochs_device(mbochs):
    """An open mbochs, which shows nothing."""
    with opened(mbochs.path, MODE) as user:
        yield user.device


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", MODES)
def test_a_display_has_planes_of_one_kind_and_says_which(display: Target, mode):
    """Of all flags only these two are taken; asked about another kind it says EINVAL."""
    kind = KIND[display.kind]
    with opened(display.path, mode) as user:
        for flags in (*range(16), kind | 1 << 31, PROBE | kind | 1 << 3):
            expected = 0 if flags in (kind, PROBE | kind) else errno.EINVAL
            assert query_plane_errno(user.device, flags) == expected, f"flags {flags:#x}"


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", MODES)
def test_a_plane_without_a_cursor_tells_of_no_hotspot(display: Target, mode):
    """Both coordinates are 0xFFFFFFFF. Source: note 2 of VFIO_DEVICE_QUERY_GFX_PLANE."""
    with opened(display.path, mode) as user:
        plane = plane_of(user.device, display.kind, VGA)
        assert (plane.x_hot, plane.y_hot) == (NO_HOTSPOT, NO_HOTSPOT)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", MODES)
def test_the_size_of_a_plane_is_one_of_whole_pages(display: Target, mode):
    """Of one that fills its last page only in part, too. Source: linux/vfio.h, at ``size``."""
    with opened(display.path, mode) as user:
        assert ODD.stride * ODD.height % PAGE
        plane = plane_of(user.device, display.kind, ODD)
        assert plane.size >= plane.stride * plane.height > 0
        rest = plane.size % PAGE
        assert rest == 0, f"its last page has {rest} bytes"


@pytest.mark.promise("P8")
def test_a_device_that_is_no_display_has_no_planes(device: Target):
    with opened(device.path, MODE) as user:
        for flags in (REGION, DMABUF, PROBE | REGION, PROBE | DMABUF):
            assert query_plane_errno(user.device, flags) == errno.ENOTTY
        assert gfx_dmabuf_errno(user.device, 1) == errno.ENOTTY


@pytest.mark.promise("P8")
def test_the_plane_of_mdpy_is_what_config_space_and_sysfs_describe(mdpy):
    width, height = map(int, (mdpy.path / "vendor" / "resolution").read_text().split("x"))
    with opened(mdpy.path, MODE) as user:
        plane, space = query_plane(user.device, REGION), user.device.config()
        assert (plane.width, plane.height) == (width, height)
        described = [space.get(at, 4) for at in (registers.WIDTH, registers.HEIGHT)]
        assert described == [width, height]
        assert plane.drm_format == space.get(registers.FORMAT, 4) == XRGB8888
        assert plane.drm_format_mod == LINEAR
        assert plane.stride >= width * PIXEL
        assert plane.size >= plane.stride * height


@pytest.mark.promise("P8")
def test_the_plane_of_mdpy_is_a_region_with_the_memory_of_its_bar(mdpy):
    with opened(mdpy.path, MODE) as user:
        plane = query_plane(user.device, REGION)
        region, memory = user.device.region(plane.identity), user.device.region(BAR0)
        assert region.mappable
        assert region.readable
        assert region.size >= plane.size
        with region.mmapped() as picture, memory.mmapped() as window:
            last = plane.stride * plane.height - PIXEL
            for place, pixel in ((0, b"\1\2\3\4"), (last, b"\5\6\7\x08")):
                window[place : place + PIXEL] = pixel
                assert picture[place : place + PIXEL] == pixel
    # Nothing of it is a dma-buf.
    with opened(mdpy.path, MODE) as user:
        assert gfx_dmabuf_errno(user.device, plane.identity) == errno.ENOTTY


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    "mode",
    [
        VGA,
        Mode(64, 64),
        Mode(800, 600),
        Mode(640, 400, virtual_width=1024),
        Mode(640, 400, virtual_width=64),
        Mode(320, 200, virtual_width=1024, x=512, y=100),
        Mode(1024, 1024),
    ],
    ids=str,
)
def test_the_plane_of_mbochs_is_what_its_registers_say(bochs_device, mode):
    """The last mode fills the memory to the last byte."""
    plane = shown(bochs_device, mode)
    assert (plane.width, plane.height, plane.stride) == (mode.width, mode.height, mode.stride)
    assert plane.drm_format == XRGB8888
    assert plane.drm_format_mod == LINEAR
    assert plane.size >= mode.stride * mode.height
    assert mode.offset + plane.size <= bochs_device.region(BAR0).size
    assert query_plane(bochs_device, DMABUF) == plane


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    "mode",
    [
        Mode(640, 480, bits=16),
        Mode(640, 480, bits=0),
        Mode(63, 480),
        Mode(640, 63),
        Mode(0, 0),
        Mode(1024, 1025),
        Mode(1024, 1024, x=1),
        Mode(1024, 1024, y=1),
        Mode(65535, 65535),
        Mode(65535, 65535, virtual_width=65535, x=65535, y=65535),
        Mode(64, 64, x=65535, y=65535),
        Mode(64, 16384, virtual_width=65535),
    ],
    ids=str,
)
def test_a_mode_that_is_none_or_leaves_the_memory_is_a_plane_that_is_off(bochs_device, mode):
    """Success, and what was shown before is not told any more."""
    shown(bochs_device, VGA)
    bochs.show(bochs_device, mode)
    assert off(query_plane(bochs_device, DMABUF))
    bochs.show(bochs_device, VGA)
    assert query_plane(bochs_device, DMABUF).width == VGA.width


@pytest.mark.promise("P8")
def test_a_plane_is_off_when_it_is_disabled_was_reset_or_is_not_there(bochs_device):
    """One that the device has not may also be refused."""

    def is_off() -> bool:
        return off(query_plane(bochs_device, DMABUF))

    assert is_off()
    shown(bochs_device, VGA)
    assert not is_off()
    for plane in (OVERLAY, CURSOR, CURSOR + 1, 2**32 - 1):
        answer = query_plane_errno(bochs_device, DMABUF, plane)
        assert answer == errno.EINVAL or off(query_plane(bochs_device, DMABUF, plane))
    bochs.hide(bochs_device)
    assert is_off()
    bochs.show(bochs_device, VGA)
    assert not is_off()
    bochs_device.reset()
    assert is_off()
    units = bochs.get_register(bochs_device, bochs.VIDEO_MEMORY)
    assert units * (64 << 10) == bochs_device.region(BAR0).size


@pytest.mark.promise("P8")
def test_each_mode_has_an_id_of_its_own_for_as_long_as_the_device_is_open(mbochs):
    """A token of the exposed framebuffer: the same for the same one, and another for another.

    It is one for the user who was told it: the next one, to whom nothing was exposed, has none.
    """
    modes = [VGA, Mode(320, 200), Mode(320, 200, y=64), Mode(320, 200, virtual_width=640)]
    with opened(mbochs.path, MODE) as user:
        ids = [shown(user.device, mode).identity for mode in modes]
        assert len(set(ids)) == len(modes)
        assert [shown(user.device, mode).identity for mode in reversed(modes)] == ids[::-1]
    with opened(mbochs.path, MODE) as user:
        for identity in ids:
            assert gfx_dmabuf_errno(user.device, identity) == errno.ENOENT
