"""This file checks which iovas an IO address space says are usable, and chooses (P8).

Source: linux/iommufd.h, IOMMU_IOAS_IOVA_RANGES and IOMMU_IOAS_ALLOW_IOVAS.
"""

import errno
from itertools import pairwise
from pathlib import Path

import pytest

from vfio_hw.fixtures.iommufd import NOBODY
from vfio_hw.host.iommu import reserved_iovas, vtd_registers
from vfio_hw.uapi import ffi, ioctl_errno, struct
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.dma import PAGE, memory
from vfio_hw.vfio.ioas import Ioas
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.opened import opened

TOP = 2**64
ALL = [(0, TOP - 1)]
CANARY = 0xA5


def usable(*devices: Path) -> list[tuple[int, int]]:
    """The iovas that the IOMMU of all these can translate, without those that one reserves."""
    last = min((1 << ((vtd_registers(each)[0] >> 16 & 0x3F) + 1)) - 1 for each in devices)
    windows = sorted({window for each in devices for window in reserved_iovas(each)})
    assert windows, "x86 reserves at least the window of the MSI addresses"
    found, first = [], 0
    for low, high in windows:
        if first < low <= last:
            found.append((first, low - 1))
        first = max(first, high + 1)
    return [*found, (first, last)] if first <= last else found


def ranges_errno(ioas: Ioas, room: int, address: int) -> tuple[int, int]:
    """IOMMU_IOAS_IOVA_RANGES with room for so many, and the number that came back."""
    request = struct(
        "iommu_ioas_iova_ranges", ioas_id=ioas.id, num_iovas=room, allowed_iovas=address
    )
    _, answer = ioctl_errno(ioas.iommufd.fileno(), "IOMMU_IOAS_IOVA_RANGES", request)
    return answer, request.num_iovas


@pytest.mark.promise("P8")
@pytest.mark.parametrize("kind", ["edu", "e1000e", "nvme"])
def test_a_device_narrows_the_usable_iovas_while_it_is_attached(request, kind):
    """To those that sysfs tells of its IOMMU and of its group."""
    path = request.getfixturevalue(kind).path
    with opened(path, "iommufd") as user:
        for _ in range(2):
            assert user.iommu.iova_ranges() == usable(path)
            user.cdev.detach()
            assert user.iommu.iova_ranges() == ALL
            user.cdev.attach(user.iommu)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("kind", ["mtty", "mdpy", "mbochs"])
def test_a_mediated_device_leaves_all_iovas_usable(request, kind):
    """No IOMMU is in front of it."""
    with opened(request.getfixturevalue(kind).path, "iommufd") as user:
        assert user.iommu.iova_ranges() == ALL


@pytest.mark.promise("P8")
def test_every_attached_device_narrows_and_the_last_to_leave_widens(mtty, edu, e1000e):
    with opened(mtty.path, "iommufd") as user, Cdev(edu.path) as one, Cdev(e1000e.path) as other:
        for cdev in (one, other):
            cdev.bind_iommufd(user.iommufd)
            cdev.attach(user.iommu)
        assert user.iommu.iova_ranges() == usable(edu.path, e1000e.path)
        one.detach()
        assert user.iommu.iova_ranges() == usable(e1000e.path)
        other.close()
        assert user.iommu.iova_ranges() == ALL


@pytest.mark.promise("P8")
def test_as_many_ranges_are_told_as_there_is_room_for_and_the_number_of_all(edu):
    """EMSGSIZE when there is too little; nothing is written behind what was told."""
    expected = usable(edu.path)
    assert len(expected) > 1
    with opened(edu.path, "iommufd") as user:
        for room in range(len(expected) + 3):
            size = 16 * (len(expected) + 3)
            page = ffi.new(f"uint8_t[{size}]", bytes([CANARY]) * size)
            answer = ranges_errno(user.iommu, room, int(ffi.cast("uintptr_t", page)))
            told = expected[:room]
            short = len(told) < len(expected)
            assert answer == (errno.EMSGSIZE if short else 0, len(expected))
            data = b"".join(n.to_bytes(8, "little") for each in told for n in each)
            assert bytes(page) == data + bytes([CANARY]) * (size - len(data))
        assert ranges_errno(user.iommu, len(expected), 0)[0] == errno.EFAULT


@pytest.mark.promise("P8")
def test_iovas_need_the_alignment_that_is_told(device):
    """None while nothing is attached; then what is mapped must have it, or attaching is refused."""
    with Iommufd() as iommufd, Cdev(device.path) as cdev, memory(2 * PAGE) as ours:
        cdev.bind_iommufd(iommufd)
        ioas = iommufd.ioas_alloc()
        assert ioas.iova_alignment() == 1
        ioas.map_dma(1, ours.vaddr + 7, 3)
        assert cdev.attach_errno(ioas) == errno.EADDRINUSE
        assert ioas.iova_alignment() == 1
        assert ioas.iova_ranges() == ALL
        assert ioas.unmap_dma(1, 3) == 3
        cdev.attach(ioas)
        alignment = ioas.iova_alignment()
        assert 1 < alignment <= PAGE
        assert alignment.bit_count() == 1
        half = alignment // 2
        for iova, vaddr, size in (
            (PAGE + half, ours.vaddr, PAGE),
            (PAGE, ours.vaddr + half, PAGE),
            (PAGE, ours.vaddr, half),
            (PAGE, ours.vaddr, PAGE + half),
        ):
            assert ioas.map_dma_errno(iova, vaddr, size) == errno.EINVAL
        assert ioas.map_dma_errno(PAGE, ours.vaddr, alignment) == 0
        cdev.detach()
        assert ioas.iova_alignment() == 1
        assert ioas.map_dma_errno(PAGE + alignment, ours.vaddr + 1, 1) == 0


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_a_device_is_not_attached_where_what_it_reserves_is_mapped(edu):
    """And what was refused leaves the usable iovas as they were."""
    first, last = reserved_iovas(edu.path)[0]
    with Iommufd() as iommufd, Cdev(edu.path) as cdev, memory() as ours:
        cdev.bind_iommufd(iommufd)
        ioas = iommufd.ioas_alloc()
        for iova in (first, last + 1 - PAGE):
            ioas.map_dma(iova, ours.vaddr, PAGE)
            assert cdev.attach_errno(ioas) == errno.EADDRINUSE
            assert ioas.iova_ranges() == ALL
            assert ioas.unmap_all() == PAGE
        ioas.map_dma(first - PAGE, ours.vaddr, PAGE)
        assert cdev.attach_errno(ioas) == 0
        assert ioas.map_dma_errno(first, ours.vaddr, PAGE) == errno.EINVAL


@pytest.mark.promise("P8")
def test_iovas_that_the_kernel_chooses_are_usable_aligned_and_free(device):
    with opened(device.path, "iommufd") as user, memory(16 * PAGE) as ours:
        ioas, taken = user.iommu, []
        for pages in (1, 3, 16, 2, 1, 8, 1):
            iova = ioas.map(None, ours.vaddr, pages * PAGE)
            taken.append((iova, iova + pages * PAGE - 1))
            assert iova % PAGE == 0
        for first, last in taken:
            assert any(low <= first and last <= high for low, high in ioas.iova_ranges())
        taken.sort()
        assert all(one[1] < other[0] for one, other in pairwise(taken))
        assert ioas.unmap_all() == 32 * PAGE


@pytest.mark.promise("P8")
def test_the_kernel_chooses_among_the_allowed_iovas(device):
    """ENOSPC when they are used up, until other ones are allowed, or none, which allows all."""
    with opened(device.path, "iommufd") as user, memory(4 * PAGE) as ours:
        ioas = user.iommu
        for base in (64 * PAGE, 1 << 32):
            ioas.allow_iovas([(base + 8 * PAGE, base + 10 * PAGE - 1), (base, base + PAGE - 1)])
            assert ioas.map_errno(None, ours.vaddr, 4 * PAGE) == errno.ENOSPC
            chosen = {ioas.map(None, ours.vaddr, PAGE) for _ in range(3)}
            assert chosen == {base, base + 8 * PAGE, base + 9 * PAGE}
            assert ioas.map_errno(None, ours.vaddr, PAGE) == errno.ENOSPC
        ioas.allow_iovas([])
        assert ioas.map_errno(None, ours.vaddr, 4 * PAGE) == 0
        assert ioas.unmap_all() == 10 * PAGE


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_what_can_not_be_allowed_leaves_allowed_what_was(edu):
    window = reserved_iovas(edu.path)[0]
    with opened(edu.path, "iommufd") as user, memory() as ours:
        ioas, good = user.iommu, [(64 * PAGE, 65 * PAGE - 1)]
        ioas.allow_iovas(good)
        for wrong, answer in (
            ([window], errno.EADDRINUSE),
            ([(PAGE, 2 * PAGE - 1), (window[0] - PAGE, window[0])], errno.EADDRINUSE),
            ([(window[1], window[1] + PAGE)], errno.EADDRINUSE),
            (ALL, errno.EADDRINUSE),
            ([(PAGE, PAGE - 1)], errno.EINVAL),
            ([(TOP - 1, 0)], errno.EINVAL),
            ([(0, PAGE), (PAGE, 2 * PAGE)], errno.EINVAL),
            ([(0, 4 * PAGE), (PAGE, 2 * PAGE)], errno.EINVAL),
        ):
            assert ioas.allow_iovas_errno(wrong) == answer, wrong
        for room, address in ((1, 0), (NOBODY, TOP - 16)):
            request = struct(
                "iommu_ioas_allow_iovas", ioas_id=ioas.id, num_iovas=room, allowed_iovas=address
            )
            fd = user.iommufd.fileno()
            assert ioctl_errno(fd, "IOMMU_IOAS_ALLOW_IOVAS", request)[1] == errno.EFAULT
        assert ioas.map(None, ours.vaddr, PAGE) == good[0][0]
        assert ioas.map_errno(None, ours.vaddr, PAGE) == errno.ENOSPC


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_a_device_that_would_take_allowed_iovas_is_not_attached(edu):
    """Until they are allowed no more; it is as free as before."""
    first, last = reserved_iovas(edu.path)[0]
    end = usable(edu.path)[-1][1]
    with Iommufd() as iommufd, Cdev(edu.path) as cdev:
        cdev.bind_iommufd(iommufd)
        ioas = iommufd.ioas_alloc()
        for kept in (ALL, [(last, last + PAGE)], [(0, first)], [(end, end + 1)]):
            ioas.allow_iovas(kept)
            assert cdev.attach_errno(ioas) == errno.EADDRINUSE
            assert ioas.iova_ranges() == ALL
        ioas.allow_iovas(usable(edu.path))
        assert cdev.attach_errno(ioas) == 0
        assert ioas.iova_ranges() == usable(edu.path)
