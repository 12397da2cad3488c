"""This file checks an iommufd of devices that no IOMMU guards: it pins, and tells where memory is.

The device reaches all of physical memory, and its user has to know where his own is.
Source: linux/iommufd.h, IOMMU_IOAS_NOIOMMU_GET_PA; Documentation/driver-api/vfio.rst, "VFIO NOIOMMU
mode". Promises: P8, P9.
"""

import errno
import os

import pytest

from vfio_hw.devices.edu_dma import engine
from vfio_hw.errors import Unsupported
from vfio_hw.fixtures import Target
from vfio_hw.fixtures.iommufd import need
from vfio_hw.host.capability import CAP_SYS_RAWIO, without
from vfio_hw.host.pagemap import physical
from vfio_hw.plugin import IN_GUEST
from vfio_hw.uapi import ffi, lib
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.dma import PAGE, accounted, mapped, memory, memory_file
from vfio_hw.vfio.hwpt import hw_info_errno, hwpt_alloc, hwpt_alloc_errno
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.opened import Opened, opened

pytestmark = pytest.mark.machine("noiommu")

PAGES = 16
TEXT = b"where the device put it"
REQUEST = "IOMMU_IOAS_NOIOMMU_GET_PA"


def address_of(view: memoryview) -> int:
    with ffi.from_buffer(view) as first:
        return int(ffi.cast("uintptr_t", first))


@pytest.fixture
def attached(bare: Target):
    """Each kind of device, attached to an address space."""
    with opened(bare.path, "iommufd") as user:
        need(user.iommufd, REQUEST)
        yield user


@pytest.mark.promise("P8")
@pytest.mark.parametrize("what", ["memory", "file"])
def test_a_mapping_is_where_the_kernel_has_the_page(attached: Opened, what):
    """Every byte of it, as the page map of the process tells of its pages."""
    ioas, size = attached.iommu, PAGES * PAGE
    with memory(size) as ours, memory_file(size) as (file, view):
        for number in range(PAGES):
            ours.bytes[number * PAGE] = view[number * PAGE] = 1
        if what == "file":
            iova = ioas.map_file(None, file, 0, size)
        else:
            iova = ioas.map(None, ours.vaddr, size)
        start = ours.vaddr if what == "memory" else address_of(view)
        for offset in (*range(0, size, PAGE), 1, PAGE - 1, PAGE + 8, size - 1):
            where, length = ioas.noiommu_get_pa(iova + offset, 1)
            assert where == physical(start + offset), f"offset {offset:#x}"
            assert length == 1
        ioas.unmap_dma(iova, size)


@pytest.mark.promise("P8")
def test_it_tells_how_far_memory_goes_on(attached: Opened):
    """As far as it is contiguous, mapped, and asked for; no further, and no less."""
    ioas, size = attached.iommu, PAGES * PAGE
    with memory(size) as ours:
        for number in range(PAGES):
            ours.bytes[number * PAGE] = 1
        iova = ioas.map(None, ours.vaddr, size)
        frames = [physical(ours.vaddr + offset) for offset in range(0, size, PAGE)]
        for begin in (0, 8, PAGE - 1, PAGE, 3 * PAGE + 512, size - PAGE, size - 1):
            first = begin // PAGE
            last = first
            while last + 1 < PAGES and frames[last + 1] == frames[last] + PAGE:
                last += 1
            contiguous = (last + 1) * PAGE - begin
            for asked in (1, 8, PAGE, 3 * PAGE, size, 2 * size, 2**63):
                where, length = ioas.noiommu_get_pa(iova + begin, asked)
                assert where == frames[first] + begin % PAGE
                assert length == min(asked, contiguous), f"{asked} bytes from {begin:#x}"
        ioas.unmap_dma(iova, size)


@pytest.mark.promise("P8")
def test_the_device_puts_data_where_it_is_told(bare_edu: Target):
    """From one page to another, with physical addresses."""
    if not os.environ.get(IN_GUEST):
        raise Unsupported("only the edu of a guest of ours is known to have enough address lines")
    with (
        opened(bare_edu.path, "iommufd") as user,
        mapped(user.iommu) as (source, iova),
        mapped(user.iommu, iova=iova + PAGE) as (target, other),
    ):
        need(user.iommufd, REQUEST)
        source.bytes[: len(TEXT)] = TEXT
        addresses = [user.iommu.noiommu_get_pa(each, PAGE)[0] for each in (iova, other)]
        assert max(addresses) + PAGE <= 1 << 32, "the guest has more memory than its edu reaches"
        engine(user.device).copy(*addresses, len(TEXT))
        assert bytes(target.bytes[: len(TEXT)]) == TEXT
        assert not any(target.bytes[len(TEXT) :])


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_what_is_not_mapped_is_nowhere(attached: Opened):
    ioas = attached.iommu
    with mapped(ioas) as (_, iova):
        for nothing in (iova - 1, iova + PAGE, 2**63):
            assert ioas.noiommu_get_pa_errno(nothing, 1) == errno.ENOENT, f"{nothing:#x}"
        assert ioas.noiommu_get_pa_errno(2**64 - 1, 1) in (errno.ENOENT, errno.EOVERFLOW)
        assert ioas.noiommu_get_pa_errno(iova, 0) == errno.EINVAL
        assert ioas.noiommu_get_pa_errno(iova, 1) == 0
    assert ioas.noiommu_get_pa_errno(iova, 1) == errno.ENOENT


@pytest.mark.promise("P8")
def test_only_who_may_do_raw_io_is_told(attached: Opened):
    with mapped(attached.iommu) as (_, iova):
        with without(CAP_SYS_RAWIO):
            assert attached.iommu.noiommu_get_pa_errno(iova, 1) == errno.EPERM
        assert attached.iommu.noiommu_get_pa_errno(iova, 1) == 0


@pytest.mark.promise("P8")
def test_only_an_address_space_of_such_a_device_tells(attached: Opened, mtty):
    """Not one without devices, nor one of a mediated device; nor when it is detached."""
    with Cdev(mtty.path) as other:
        other.bind_iommufd(attached.iommufd)
        empty, mediated = attached.iommufd.ioas_alloc(), attached.iommufd.ioas_alloc()
        other.attach(mediated)
        for ioas in (empty, mediated):
            with mapped(ioas) as (_, iova):
                assert ioas.noiommu_get_pa_errno(iova, 1) == errno.EOPNOTSUPP
    with mapped(attached.iommu) as (_, iova):
        attached.cdev.detach()
        assert attached.iommu.noiommu_get_pa_errno(iova, 1) == errno.EOPNOTSUPP
        attached.cdev.attach(attached.iommu)
        assert attached.iommu.noiommu_get_pa_errno(iova, 1) == 0


@pytest.mark.promise("P9")
def test_what_is_mapped_is_pinned_until_it_is_not(bare: Target):
    before = accounted()
    with opened(bare.path, "iommufd") as user, memory(PAGES * PAGE) as ours:
        user.iommu.map(None, ours.vaddr, ours.size)
        assert accounted().pinned == before.pinned + ours.size
        user.cdev.detach()
        assert accounted() == before
        user.cdev.attach(user.iommu)
        assert accounted().pinned == before.pinned + ours.size
    assert accounted() == before


@pytest.mark.promise("P8")
def test_it_has_no_hardware_to_tell_of(attached: Opened, bare: Target):
    with Iommufd() as iommufd:
        attached.cdev.close()
        with Cdev(bare.path) as cdev:
            device = cdev.bind_iommufd(iommufd)
            assert hw_info_errno(iommufd, device) == errno.EOPNOTSUPP


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_its_page_tables_have_no_features(bare: Target):
    """A plain one is made, attached, replaced, destroyed; one that needs hardware is not made."""
    with Iommufd() as iommufd, Cdev(bare.path) as cdev:
        need(iommufd, REQUEST)
        device = cdev.bind_iommufd(iommufd)
        ioas = iommufd.ioas_alloc()
        for flag in (
            lib.IOMMU_HWPT_ALLOC_NEST_PARENT,
            lib.IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
            lib.IOMMU_HWPT_ALLOC_PASID,
        ):
            assert hwpt_alloc_errno(iommufd, device, ioas, flags=flag) == errno.EOPNOTSUPP
        table, other = hwpt_alloc(iommufd, device, ioas), hwpt_alloc(iommufd, device, ioas)
        with mapped(ioas) as (_, iova):
            assert cdev.attach(table) == table.id
            where = ioas.noiommu_get_pa(iova, PAGE)
            assert cdev.attach(other) == other.id
            table.destroy()
            assert ioas.noiommu_get_pa(iova, PAGE) == where
            assert cdev.attach_errno(ioas, pasid=1) in (errno.EINVAL, errno.EOPNOTSUPP)
            cdev.detach()
        other.destroy()
        ioas.destroy()
