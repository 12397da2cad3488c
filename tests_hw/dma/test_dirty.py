"""This file checks Type1's tracking of dirty pages (P8), and that refusals change nothing (P7).

For a device that can not tell which pages it wrote, all that it may write are dirty; a mediated
device that pinned no page has dirtied none. Source: VFIO_IOMMU_DIRTY_PAGES in linux/vfio.h.
"""

import errno

import pytest

from vfio_hw.uapi import ffi, lib
from vfio_hw.vfio.dma import PAGE, first_iova, memory
from vfio_hw.vfio.info import capability
from vfio_hw.vfio.opened import opened

MODE = "vfio_type1v2_iommu"
TOP = 2**64
START = lib.VFIO_IOMMU_DIRTY_PAGES_FLAG_START
STOP = lib.VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP
GET = lib.VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP
WORD = 64 * PAGE


@pytest.fixture(params=["mtty", "edu"])
def kind(request: pytest.FixtureRequest) -> str:
    """A mediated device, and one behind the machine's IOMMU."""
    return request.param


@pytest.fixture
def container(request, kind):
    """The container of an open device of this kind."""
    with opened(request.getfixturevalue(kind).path, MODE) as user:
        yield user.container


def bits(*pages: int) -> bytes:
    """The bitmap of one word with these bits."""
    return sum(1 << page for page in pages).to_bytes(8, "little")


@pytest.mark.promise("P8")
def test_dirty_pages_are_told_from_start_to_stop(container, kind):
    """Also of what is mapped later; nothing is told before, after, or of what is not mapped."""
    iova = first_iova(container, 2 * WORD)
    with memory(2 * PAGE) as ours:
        container.map_dma(iova, ours.vaddr, 2 * PAGE)
        assert container.dirty_bitmap_errno(iova, 2 * PAGE) == errno.EINVAL
        assert container.unmap_dirty_errno(iova, 2 * PAGE) == errno.EINVAL
        for _ in range(2):
            container.dirty_pages(START)
        container.map_dma(iova + WORD, ours.vaddr, PAGE)
        one, two = (bits(0), bits(0, 1)) if kind == "edu" else (bits(), bits())
        for _ in range(2):
            assert container.dirty_bitmap(iova, 2 * WORD) == two + one
        assert container.unmap_dirty(iova + WORD, PAGE) == one
        assert container.dirty_bitmap(iova, 2 * WORD) == two + bits()
        for _ in range(2):
            container.dirty_pages(STOP)
            assert container.dirty_bitmap_errno(iova, WORD) == errno.EINVAL
        assert container.unmap_dma(iova, WORD) == 2 * PAGE


@pytest.mark.promise("P8")
def test_mappings_that_share_a_word_of_the_bitmap_have_their_own_bits(container, kind):
    """However often they are asked for: a page that is not mapped is never dirty."""
    iova = first_iova(container, WORD)
    expected = bits(0, 1, 4) if kind == "edu" else bits()
    with memory(2 * PAGE) as ours:
        container.map_dma(iova, ours.vaddr, 2 * PAGE)
        container.map_dma(iova + 4 * PAGE, ours.vaddr, PAGE)
        container.dirty_pages(START)
        assert [container.dirty_bitmap(iova, WORD) for _ in range(3)] == [expected] * 3


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_no_bitmap_is_given_of_a_range_that_is_off_huge_or_wraps(container):
    """How long a bitmap may be, VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION tells."""
    info = container.get_info()
    data = info.capabilities[lib.VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION]
    most = capability("struct vfio_iommu_type1_info_cap_migration", data).max_dirty_bitmap_size
    iova = first_iova(container, WORD)
    with memory(2 * PAGE) as ours:
        container.map_dma(iova, ours.vaddr, 2 * PAGE)
        container.dirty_pages(START)
        for first, size, room in (
            (iova, 0, 8),
            (iova + 1, PAGE, 8),
            (iova, PAGE + 1, 8),
            (iova, PAGE - 1, 8),
            (iova, 2 * PAGE, 0),
            (iova, 2 * PAGE, 7),
            (iova, WORD + PAGE, 8),
            (iova, WORD, most + 8),
            (iova, TOP // 2, 8),
            (iova, TOP // 2, most),
            (iova, TOP // 2, TOP // 2),
            (iova, TOP - PAGE, TOP - 8),
            (TOP - PAGE, 2 * PAGE, 8),
            (TOP - PAGE, TOP - PAGE, most),
            (iova, PAGE, 8),
            (iova + PAGE, PAGE, 8),
            (iova + PAGE, WORD, 16),
        ):
            answer = container.dirty_bitmap_errno(first, size, room=room)
            assert answer in (errno.EINVAL, errno.EOVERFLOW), f"{first:#x} {size:#x} {room:#x}"
        for pgsize in (PAGE // 2, 2 * PAGE, 2 << 20):
            assert container.dirty_bitmap_errno(iova, WORD, pgsize, room=8) == errno.EINVAL
        assert container.unmap_dirty_errno(iova, PAGE) == errno.EINVAL
        assert container.dirty_bitmap_errno(iova, 2 * PAGE) == 0
        assert container.unmap_dma(iova, 2 * PAGE) == 2 * PAGE


@pytest.mark.promise("P7")
def test_a_bitmap_that_can_not_be_written_takes_nothing(container):
    """EFAULT: tracking goes on, and what was to be unmapped with it is mapped still."""
    iova = first_iova(container, WORD)
    with memory() as ours:
        container.map_dma(iova, ours.vaddr, PAGE)
        container.dirty_pages(START)
        # No process has its first page.
        nowhere = ffi.new("struct vfio_bitmap *", {"pgsize": PAGE, "size": 8})
        bitmap = bytes(ffi.buffer(nowhere))
        range_ = ffi.new("struct vfio_iommu_type1_dirty_bitmap_get *", {"iova": iova, "size": PAGE})
        range_.bitmap = nowhere[0]
        assert container.dirty_pages_errno(GET, bytes(ffi.buffer(range_))) == errno.EFAULT
        flag = lib.VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP
        assert container.unmap_with_errno(flag, iova, PAGE, bitmap) == errno.EFAULT
        assert container.map_dma_errno(iova, ours.vaddr, PAGE) == errno.EEXIST
        assert container.dirty_bitmap_errno(iova, PAGE) == 0
        assert container.unmap_dma(iova, PAGE) == PAGE


@pytest.mark.promise("P8")
def test_dirty_pages_take_one_flag_that_exists_and_whole_data(container):
    for flags in (
        START | STOP,
        START | GET,
        STOP | GET,
        START | STOP | GET,
        1 << 3,
        START | 1 << 3,
    ):
        assert container.dirty_pages_errno(flags, bytes(40)) == errno.EINVAL, f"{flags:#x}"
    container.dirty_pages(START)
    for length in (0, 1, 39):
        assert container.dirty_pages_errno(GET, bytes(length)) == errno.EINVAL
    assert container.unmap_with_errno(
        lib.VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, PAGE, PAGE, bytes(23)
    ) == (errno.EINVAL)


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    ("mode", "refusal"),
    [("vfio_type1_iommu", errno.EACCES), ("iommufd_compat_type1v2", errno.ENOTTY)],
    ids=["vfio_type1_iommu", "iommufd_compat_type1v2"],
)
def test_only_the_second_version_of_type1_tracks_dirty_pages(mtty, mode, refusal):
    """The first one may not, an iommufd does not know the request.

    Source: vfio_iommu_type1_dirty_pages(), iommufd_vfio_ioctl().
    """
    with opened(mtty.path, mode) as user:
        for flag in (START, STOP, GET):
            assert user.container.dirty_pages_errno(flag, bytes(40)) == refusal


@pytest.mark.promise("P7")
def test_tracking_that_can_not_begin_has_not_begun(mtty):
    """A mapping with more pages than a bitmap has bits: nobody looks at its memory before."""
    huge = (2**31 + 8) * PAGE
    with opened(mtty.path, MODE) as user, memory() as ours:
        container = user.container
        container.map_dma(PAGE, ours.vaddr, PAGE)
        container.map_dma(TOP // 2, 0, huge)
        for _ in range(2):
            assert container.dirty_pages_errno(START) == errno.EINVAL
            assert container.dirty_bitmap_errno(PAGE, PAGE) == errno.EINVAL
        assert container.unmap_dma(TOP // 2, huge) == huge
        assert container.dirty_pages_errno(START) == 0
        assert container.dirty_bitmap(PAGE, PAGE) == bits()
        assert container.map_dma_errno(TOP // 2, 0, huge) == errno.EINVAL
        assert container.unmap_all() == PAGE
