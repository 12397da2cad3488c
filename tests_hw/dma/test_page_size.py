"""This file checks that a bitmap of dirty pages has pages of a size (P8, P7).

Source: linux/vfio.h, ``struct vfio_bitmap``: ``pgsize`` is the page size of the bitmap in bytes.
"""

import errno

import pytest

from vfio_hw.uapi import ffi, lib, struct
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.dma import PAGE, first_iova, memory
from vfio_hw.vfio.opened import opened

START = lib.VFIO_IOMMU_DIRTY_PAGES_FLAG_START
GET = lib.VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP
UNMAP = lib.VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP


def answer(container: Container, call: str, iova: int, room: int) -> int:
    """The errno with which a bitmap of this many bytes, of pages of no size, is refused."""
    words = ffi.new("char[]", room)
    bitmap = struct("vfio_bitmap", pgsize=0, size=room, data=ffi.cast("uint64_t *", words))
    if call == "unmap_dma":
        return container.unmap_with_errno(UNMAP, iova, PAGE, bytes(ffi.buffer(bitmap)))
    get = struct("vfio_iommu_type1_dirty_bitmap_get", iova=iova, size=PAGE)
    get.bitmap = bitmap[0]
    return container.dirty_pages_errno(GET, bytes(ffi.buffer(get)))


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@pytest.mark.parametrize("call", ["dirty_pages", "unmap_dma"])
def test_a_bitmap_of_pages_without_a_size_is_refused(mtty, call):
    """Also one with a bit for each byte; what is mapped stays, and is told of as before."""
    with opened(mtty.path, "vfio_type1v2_iommu") as user, memory() as ours:
        container, iova = user.container, first_iova(user.container, PAGE)
        container.map_dma(iova, ours.vaddr, PAGE)
        for room in (8, PAGE // 8):
            assert answer(container, call, iova, room) == errno.EINVAL, f"{room} bytes"
        container.dirty_pages(START)
        for room in (8, PAGE // 8):
            assert answer(container, call, iova, room) == errno.EINVAL, f"{room} bytes, tracking"
        assert container.dirty_bitmap(iova, PAGE) == bytes(8)
        assert container.unmap_dma(iova, PAGE) == PAGE
