"""This file checks the framebuffers of mbochs: who holds them, and that they show the memory.

The driver gives one for each mode, as a dma-buf (P8); their pages live as long as somebody has one,
and no longer (P3, P9). Source: linux/vfio.h, VFIO_DEVICE_QUERY_GFX_PLANE and
VFIO_DEVICE_GET_GFX_DMABUF; Documentation/driver-api/dma-buf.rst.
"""

from collections.abc import Hashable

import pytest

from vfio_hw.devices.mbochs import Mode, shown
from vfio_hw.oracle.growth import leaves_nothing
from vfio_hw.uapi import lib
from vfio_hw.vfio.gfx import gfx_dmabuf
from vfio_hw.vfio.opened import opened

MODE = "vfio_type1v2_iommu"
BAR0 = lib.VFIO_PCI_BAR0_REGION_INDEX
VGA = Mode(640, 480)
# Four pages, and as many as there are.
SMALL, WHOLE = Mode(64, 64), Mode(1024, 1024)
# It begins at the third page of the memory.
SHIFTED = Mode(64, 64, virtual_width=1024, y=2)


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
