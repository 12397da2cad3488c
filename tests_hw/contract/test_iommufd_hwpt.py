"""This file checks hardware page tables: what they hold, how long they live, what is refused.

What the IOMMU can not is judged by its refusal (P8), and that no refusal leaves anything (P7).
Source: linux/iommufd.h, IOMMU_HWPT_*.
"""

import errno

import pytest

from vfio_hw.fixtures.iommufd import NOBODY
from vfio_hw.host.iommu import ECAP_NEST, ECAP_SLADS, ECAP_SMTS, domains_used, vtd_registers
from vfio_hw.uapi import ffi, ioctl_errno, lib, struct
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.dma import PAGE, accounted, memory
from vfio_hw.vfio.hwpt import hw_info_errno, hwpt_alloc, hwpt_alloc_errno
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.opened import opened

TOP = 2**64
SECRET = b"what the device moves" * 8


def lowest_free(iommufd: Iommufd) -> int:
    """The number that the next object gets."""
    ioas = iommufd.ioas_alloc()
    ioas.destroy()
    return ioas.id


@pytest.mark.promise("P8")
def test_a_page_table_has_what_its_address_space_maps_before_and_after(bound_edu):
    """And pins it, from its allocation on, whether a device is attached or not."""
    one, engine = bound_edu
    with memory(2 * PAGE) as ours, memory(2 * PAGE) as late:
        ioas, before = one.iommufd.ioas_alloc(), accounted().pinned
        ioas.map_dma(PAGE, ours.vaddr, 2 * PAGE)
        assert accounted().pinned == before
        table = hwpt_alloc(one.iommufd, one.id, ioas)
        assert accounted().pinned - before == 2 * PAGE
        assert one.cdev.attach(table) == table.id
        ioas.map_dma(8 * PAGE, late.vaddr, 2 * PAGE)
        ours.bytes[PAGE : PAGE + len(SECRET)] = SECRET
        engine.copy(2 * PAGE, 8 * PAGE, len(SECRET))
        assert bytes(late.bytes[: len(SECRET)]) == SECRET
        assert ioas.unmap_all() == 4 * PAGE
        assert accounted().pinned == before


@pytest.mark.promise("P8")
@pytest.mark.promise("P9")
def test_a_page_table_holds_and_is_held_as_long_as_it_is_used(bound):
    """EBUSY; how many the IOMMU has in use, sysfs tells."""
    path, iommufd, cdev, devid = bound.path, bound.iommufd, bound.cdev, bound.id
    used = domains_used(path)
    for _ in range(2):
        ioas = iommufd.ioas_alloc()
        table = hwpt_alloc(iommufd, devid, ioas)
        assert ioas.destroy_errno() == errno.EBUSY
        for _ in range(2):
            assert cdev.attach(table) == table.id
        assert domains_used(path) == used + 1
        assert table.destroy_errno() == errno.EBUSY
        cdev.detach()
        assert domains_used(path) == used
        assert ioas.destroy_errno() == errno.EBUSY
        assert table.destroy_errno() == 0
        assert table.destroy_errno() == errno.ENOENT
        assert cdev.attach_errno(table) == errno.ENOENT
        assert ioas.destroy_errno() == 0


@pytest.mark.promise("P8")
def test_a_page_table_that_came_with_the_attach_goes_with_the_detach(bound):
    """Source: linux/vfio.h, VFIO_DEVICE_ATTACH_IOMMUFD_PT; it is no parent, and not ours."""
    path, iommufd, cdev, devid = bound.path, bound.iommufd, bound.cdev, bound.id
    ioas, used = iommufd.ioas_alloc(), domains_used(path)
    table = cdev.attach(ioas)
    assert table not in (ioas.id, devid)
    assert cdev.attach(ioas) == table
    assert domains_used(path) == used + 1
    assert iommufd.destroy_errno(table) == errno.EBUSY
    assert hwpt_alloc(iommufd, devid, ioas).id != table
    cdev.detach()
    assert domains_used(path) == used
    assert iommufd.destroy_errno(table) == errno.ENOENT


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_what_the_iommu_can_not_do_it_has_no_page_table_for(bound):
    """EOPNOTSUPP; what it can, its extended capability register tells. No number is spent."""
    path, iommufd, devid = bound.path, bound.iommufd, bound.id
    ecap = vtd_registers(path)[1]
    nested = ecap & ECAP_NEST and ecap & ECAP_SMTS
    dirty = ecap & ECAP_SLADS and ecap & ECAP_SMTS
    ioas = iommufd.ioas_alloc()
    free = lowest_free(iommufd)
    for flags, can in (
        (lib.IOMMU_HWPT_ALLOC_NEST_PARENT, nested),
        (lib.IOMMU_HWPT_ALLOC_DIRTY_TRACKING, dirty),
        (lib.IOMMU_HWPT_ALLOC_NEST_PARENT | lib.IOMMU_HWPT_ALLOC_DIRTY_TRACKING, nested and dirty),
        (1 << 4, False),
        (1 << 31, False),
        (0xFFFFFFFF, False),
    ):
        answer = hwpt_alloc_errno(iommufd, devid, ioas, flags)
        assert answer == (0 if can else errno.EOPNOTSUPP), f"{flags:#x}"
    if not (nested or dirty):
        assert lowest_free(iommufd) == free
    assert ioas.destroy_errno() == (errno.EBUSY if nested or dirty else 0)


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_data_of_a_page_table_need_their_kind_and_a_parent(bound):
    """EINVAL when one is there without the other; none has data but a nested table."""
    iommufd, devid = bound.iommufd, bound.id
    ioas = iommufd.ioas_alloc()
    table = hwpt_alloc(iommufd, devid, ioas)
    free = lowest_free(iommufd)
    data = bytes(ffi.buffer(ffi.new("struct iommu_hwpt_vtd_s1 *")))
    kinds = (
        lib.IOMMU_HWPT_DATA_VTD_S1,
        lib.IOMMU_HWPT_DATA_ARM_SMMUV3,
        lib.IOMMU_HWPT_DATA_AMD_GUEST,
        0xFFFF,
    )
    for parent in (ioas, table):
        assert hwpt_alloc_errno(iommufd, devid, parent, data=data) == errno.EINVAL
        for kind in kinds:
            assert hwpt_alloc_errno(iommufd, devid, parent, kind=kind) == errno.EINVAL
    for kind in kinds:
        assert hwpt_alloc_errno(iommufd, devid, ioas, kind=kind, data=data) == errno.EOPNOTSUPP
        # The parent is none, and the IOMMU can not: which is told is not said.
        answer = hwpt_alloc_errno(iommufd, devid, table, kind=kind, data=data)
        assert answer in (errno.EINVAL, errno.EOPNOTSUPP)
    assert lowest_free(iommufd) == free
    assert table.destroy_errno() == 0
    assert ioas.destroy_errno() == 0


@pytest.mark.promise("P8")
def test_a_page_table_that_was_not_made_for_it_tracks_nothing(bound):
    iommufd, cdev, devid = bound.iommufd, bound.cdev, bound.id
    ioas = iommufd.ioas_alloc()
    table = hwpt_alloc(iommufd, devid, ioas)
    with memory() as ours:
        ioas.map_dma(PAGE, ours.vaddr, PAGE)
        for attached in (False, True):
            if attached:
                cdev.attach(table)
            for enable in (True, False):
                assert table.set_dirty_tracking_errno(enable) == errno.EOPNOTSUPP
            for clear in (True, False):
                answer = table.dirty_bitmap_errno(PAGE, PAGE, clear=clear)
                assert answer == errno.EOPNOTSUPP
            for iova, length, size, wrong in (
                (PAGE, 0, PAGE, errno.EINVAL),
                (PAGE + 1, PAGE, PAGE, errno.EINVAL),
                (PAGE, PAGE, 0, errno.EINVAL),
                (PAGE, PAGE, 2 * PAGE, errno.EINVAL),
                (TOP - PAGE, 2 * PAGE, PAGE, errno.EOVERFLOW),
            ):
                answer = table.dirty_bitmap_errno(iova, length, size)
                assert answer in (wrong, errno.EOPNOTSUPP)


@pytest.mark.promise("P8")
def test_only_nested_page_tables_are_invalidated(bound):
    """EINVAL, and none of the entries was handled."""
    iommufd, devid = bound.iommufd, bound.id
    table = hwpt_alloc(iommufd, devid, iommufd.ioas_alloc())
    kind = lib.IOMMU_HWPT_INVALIDATE_DATA_VTD_S1
    other = lib.IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3
    entry = bytes(ffi.buffer(ffi.new("struct iommu_hwpt_vtd_s1_invalidate *")))
    for entries in (b"", entry, entry * 3):
        for each in (kind, other):
            assert table.invalidate_errno(each, entries, len(entry)) == errno.EINVAL
    for identity, address, length, wrong in (
        (table.id, 0, len(entry), errno.EINVAL),
        (table.id, 1 << 40, 0, errno.EINVAL),
        (NOBODY, 0, 0, errno.EINVAL),
    ):
        request = struct("iommu_hwpt_invalidate", hwpt_id=identity, data_type=kind, entry_num=3)
        request.data_uptr, request.entry_len = address, length
        assert ioctl_errno(iommufd.fileno(), "IOMMU_HWPT_INVALIDATE", request)[1] == wrong
        assert request.entry_num == 0


@pytest.mark.promise("P8")
@pytest.mark.parametrize("kind", ["mtty", "mdpy", "mbochs"])
def test_a_mediated_device_has_no_page_table(request, kind):
    """Nothing is known of an IOMMU; it is attached to the address space itself."""
    with opened(request.getfixturevalue(kind).path, "iommufd") as user:
        iommufd, ioas = user.iommufd, user.iommu
        for number in range(1, 5):
            assert hw_info_errno(iommufd, number) == errno.ENOENT
            assert hwpt_alloc_errno(iommufd, number, ioas) == errno.ENOENT
        assert user.cdev.attach(ioas) == ioas.id


@pytest.mark.promise("P8")
def test_a_page_table_of_one_device_serves_others_but_no_mediated_one(mtty, bound):
    """Its number says nothing to that, and what was refused leaves that attached as it was (P7)."""
    iommufd, cdev, devid = bound.iommufd, bound.cdev, bound.id
    ioas = iommufd.ioas_alloc()
    table = hwpt_alloc(iommufd, devid, ioas)
    with Cdev(mtty.path) as mediated:
        mediated.bind_iommufd(iommufd)
        for attached in (False, True):
            if attached:
                assert mediated.attach(ioas) == ioas.id
            assert mediated.attach_errno(table) in (errno.ENOENT, errno.EINVAL)
        assert cdev.attach(table) == table.id
        cdev.detach()
        assert table.destroy_errno() == 0
        assert ioas.destroy_errno() == errno.EBUSY
