"""This file checks the dma-bufs of a display: how large they are, and how long they live (P8, P3).

Source: linux/vfio.h, VFIO_DEVICE_GET_GFX_DMABUF; Documentation/driver-api/dma-buf.rst.
"""

import contextlib
import errno
import fcntl
import mmap
import os

import pytest

from vfio_hw.devices.mbochs import Mode, shown
from vfio_hw.vfio.dmabuf import DmaBuf
from vfio_hw.vfio.gfx import gfx_dmabuf, gfx_dmabuf_errno
from vfio_hw.vfio.opened import opened

MODES = ["vfio_type1v2_iommu", "iommufd"]
VGA = Mode(640, 480)
# It begins at the third page of the memory.
SHIFTED = Mode(64, 64, virtual_width=1024, y=2)
WATCHED = 0.3
PROMPT = 5.0


def write_errno(buffer: DmaBuf) -> int:
    """What mmap(2) says when the buffer is to be mapped for writing."""
    try:
        mmap.mmap(buffer.fileno(), buffer.size, prot=mmap.PROT_WRITE).close()
    except OSError as refused:
        return refused.errno or 0
    return 0


@pytest.fixture(params=MODES)
def device(request, mbochs):
    """An open display."""
    with opened(mbochs.path, request.param) as user:
        yield user.device


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", [VGA, SHIFTED, Mode(1024, 1024)], ids=str)
def test_a_dma_buf_is_as_large_as_its_plane_and_only_an_open_to_write_maps_it_so(device, mode):
    """What it was opened for, fcntl(2) says."""
    plane = shown(device, mode)
    with gfx_dmabuf(device, plane.identity) as buffer:
        assert buffer.size == plane.size
        access = fcntl.fcntl(buffer.fileno(), fcntl.F_GETFL) & os.O_ACCMODE
        assert write_errno(buffer) == (0 if access == os.O_RDWR else errno.EACCES)


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_an_id_that_was_never_given_is_refused(device):
    for _ in range(2):
        assert gfx_dmabuf_errno(device, 0) == errno.ENOENT
        assert gfx_dmabuf_errno(device, 1) == errno.ENOENT
        assert gfx_dmabuf_errno(device, 2**32 - 1) == errno.ENOENT
    plane = shown(device, VGA)
    for other in (plane.identity - 1, plane.identity + 1):
        assert gfx_dmabuf_errno(device, other) == errno.ENOENT
    assert gfx_dmabuf_errno(device, plane.identity) == 0


@pytest.mark.promise("P8")
def test_a_picture_that_does_not_begin_with_a_page_is_no_dma_buf(device):
    """It has a plane and an id, but only whole pages are shared."""
    plane = shown(device, Mode(64, 64, x=8))
    assert plane.width == 64
    for _ in range(2):
        assert gfx_dmabuf_errno(device, plane.identity) == errno.EINVAL
    again = shown(device, Mode(64, 64))
    assert gfx_dmabuf_errno(device, again.identity) == 0


@pytest.mark.promise("P3")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("first", ["device", "buffer"])
def test_the_dma_bufs_of_a_display_close_before_it_or_after(mbochs, mode, first):
    """One that is left keeps its size, and the next user of the device can not get it by its id."""
    with contextlib.ExitStack() as stack:
        with opened(mbochs.path, mode) as user:
            planes = [shown(user.device, each) for each in (VGA, SHIFTED)]
            buffers = [
                stack.enter_context(gfx_dmabuf(user.device, plane.identity)) for plane in planes
            ]
            if first == "buffer":
                for buffer in buffers:
                    buffer.close()
        with opened(mbochs.path, mode) as user:
            for plane in planes:
                assert gfx_dmabuf_errno(user.device, plane.identity) == errno.ENOENT
            if first == "device":
                assert [buffer.size for buffer in buffers] == [plane.size for plane in planes]
            again = shown(user.device, VGA)
            assert gfx_dmabuf_errno(user.device, again.identity) == 0


@pytest.mark.promise("P1")
@pytest.mark.parametrize("mode", MODES)
def test_removal_of_a_display_waits_for_the_device_file(mbochs, mode):
    with opened(mbochs.path, mode) as user:
        plane = shown(user.device, VGA)
        with gfx_dmabuf(user.device, plane.identity) as buffer, mbochs.removal() as removal:
            assert removal.wait(WATCHED) is None
            assert gfx_dmabuf_errno(user.device, plane.identity + 1) == errno.ENOENT
            buffer.close()
            assert removal.wait(WATCHED) is None
            user.device.close()
            removal.must_return(PROMPT)
