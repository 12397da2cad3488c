"""This file checks the framebuffers of mbochs: who holds them, and that they show the memory.

The driver gives one for each mode, as a dma-buf (P8); their pages live as long as somebody has one,
and no longer (P3, P9). Source: linux/vfio.h, VFIO_DEVICE_QUERY_GFX_PLANE and
VFIO_DEVICE_GET_GFX_DMABUF; Documentation/driver-api/dma-buf.rst.
"""

import re
from collections.abc import Hashable
from pathlib import Path

import pytest

from vfio_hw.devices.mbochs import Mode, show, shown
from vfio_hw.oracle.growth import leaves_nothing
from vfio_hw.uapi import lib
from vfio_hw.vfio.dma import PAGE
from vfio_hw.vfio.dmabuf import DmaBuf
from vfio_hw.vfio.gfx import DMABUF, gfx_dmabuf, query_plane
from vfio_hw.vfio.opened import opened

MODE = "vfio_type1v2_iommu"
BAR0 = lib.VFIO_PCI_BAR0_REGION_INDEX
VGA = Mode(640, 480)
# Four pages, and as many as there are.
SMALL, WHOLE = Mode(64, 64), Mode(1024, 1024)
# It begins at the third page of the memory.
SHIFTED = Mode(64, 64, virtual_width=1024, y=2)


def references(buffer: DmaBuf) -> int:
    """To the file behind the descriptor, says /proc/self/fdinfo."""
    text = Path(f"/proc/self/fdinfo/{buffer.fileno()}").read_text()
    found = re.search(r"^count:\s+(\d+)$", text, re.MULTILINE)
    assert found, text
    return int(found[1])


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", [VGA, SHIFTED], ids=str)
def test_a_mode_is_described_when_it_is_asked_for_first(mbochs, mode):
    with opened(mbochs.path, MODE) as user:
        show(user.device, mode)
        plane = query_plane(user.device, DMABUF)
        assert (plane.width, plane.height) == (mode.width, mode.height)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", [VGA, SHIFTED], ids=str)
def test_a_dma_buf_that_is_mapped_shows_what_was_drawn(mbochs, mode):
    """Before it was mapped, and after."""
    with (
        opened(mbochs.path, MODE) as user,
        user.device.region(BAR0).mmapped() as memory,
        gfx_dmabuf(user.device, shown(user.device, mode).identity) as buffer,
    ):
        first, last = mode.offset, mode.offset + buffer.size - 4
        memory[first : first + 4] = b"here"
        with buffer.mmapped(buffer.size) as picture:
            memory[last : last + 4] = b"last"
            assert (picture[:4], picture[-4:]) == (b"here", b"last")


@pytest.mark.promise("P3")
def test_each_descriptor_of_a_dma_buf_is_a_reference_to_it(mbochs):
    """One that is closed leaves the other."""
    with opened(mbochs.path, MODE) as user:
        plane = shown(user.device, VGA)
        with gfx_dmabuf(user.device, plane.identity) as one:
            assert references(one) == 1
            with gfx_dmabuf(user.device, plane.identity) as other:
                both = references(one), references(other)
                assert both == (2, 2), "a second descriptor is no reference"
            assert references(one) == 1
            assert one.size == plane.size


@pytest.mark.promise("P3")
def test_the_pages_of_a_dma_buf_stay_however_often_it_is_closed_and_got_again(mbochs):
    """They belong to the device too, and are there until both have gone.

    The mapping is held to the last, so that a kernel that frees them too early does so only there.
    """
    with opened(mbochs.path, MODE) as user, user.device.region(BAR0).mmapped() as memory:
        plane = shown(user.device, SMALL)
        for page in range(0, plane.size, PAGE):
            memory[page] = 0x5A
        for _ in range(2):
            gfx_dmabuf(user.device, plane.identity).close()
        assert {memory[page] for page in range(0, plane.size, PAGE)} == {0x5A}
        user.device.close()
        memory.close()


@pytest.mark.promise("P3")
def test_a_dma_buf_outlives_its_device(mbochs):
    with opened(mbochs.path, MODE) as user:
        plane = shown(user.device, VGA)
        buffer = gfx_dmabuf(user.device, plane.identity)
    with buffer:
        mbochs.remove()
        assert buffer.size == plane.size


@pytest.mark.promise("P9")
@pytest.mark.parametrize("exported", [False, True], ids=["shown", "exported"])
def test_a_framebuffer_leaves_nothing(mbochs, exported):
    def cycle() -> Hashable:
        with opened(mbochs.path, MODE) as user:
            plane = shown(user.device, WHOLE)
            if exported:
                gfx_dmabuf(user.device, plane.identity).close()
            return plane.size

    leaves_nothing(cycle, 10)
