"""This file checks attaching, replacing and detaching: what the device reaches then (P8, P7).

Source: linux/vfio.h, VFIO_DEVICE_ATTACH_IOMMUFD_PT and VFIO_DEVICE_DETACH_IOMMUFD_PT.
"""

import contextlib
import errno
from collections.abc import Iterator

import pytest

from vfio_hw.devices.edu_dma import engine
from vfio_hw.fixtures.iommufd import NOBODY
from vfio_hw.host.binding import bound_to
from vfio_hw.uapi import ffi, ioctl_errno, lib, struct
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.dma import PAGE, memory
from vfio_hw.vfio.fault import FaultQueue
from vfio_hw.vfio.hwpt import hwpt_alloc
from vfio_hw.vfio.ioas import Ioas
from vfio_hw.vfio.iommufd import Iommufd

FIRST, SECOND = b"the first address space", b"the second address space"
COUNT = 32


@contextlib.contextmanager
def told_apart(iommufd: Iommufd) -> Iterator[list[tuple[Ioas, memoryview]]]:
    """Two address spaces that show, at the same iova, different memory: its text and zeroes."""
    with memory() as one, memory() as other:
        spaces = []
        for ours, text in ((one, FIRST), (other, SECOND)):
            ioas = iommufd.ioas_alloc()
            ioas.map_dma(PAGE, ours.vaddr, PAGE)
            ours.bytes[: len(text)] = text
            spaces.append((ioas, ours.bytes))
        yield spaces


@pytest.mark.promise("P8")
@pytest.mark.parametrize("given", ["address space", "page table"])
def test_a_replaced_address_space_is_reached_no_more(bound_edu, given):
    """Nor in use, while the other one is; back and forth, without a detach."""
    one, dma = bound_edu
    iommufd, cdev, devid = one.iommufd, one.cdev, one.id
    with told_apart(iommufd) as spaces:
        tables = [hwpt_alloc(iommufd, devid, ioas) for ioas, _ in spaces]
        before = cdev.attach(spaces[1][0])
        for place in (0, 1, 0):
            (ioas, ours), (_, untouched) = spaces[place], spaces[1 - place]
            got = cdev.attach(ioas if given == "address space" else tables[place])
            if given == "page table":
                assert got == tables[place].id
            dma.copy(PAGE, PAGE + 512, COUNT)
            assert bytes(ours[512 : 512 + COUNT]) == bytes(ours[:COUNT])
            assert not any(untouched[512:])
            ours[512 : 512 + COUNT] = bytes(COUNT)
            assert iommufd.destroy_errno(got) == errno.EBUSY
            if before not in [table.id for table in tables]:
                assert iommufd.destroy_errno(before) == errno.ENOENT
            before = got
        assert tables[1].destroy_errno() == 0
        assert spaces[1][0].destroy_errno() == 0
        assert spaces[0][0].destroy_errno() == errno.EBUSY


@pytest.mark.promise("P8")
@pytest.mark.iommu_faults("edu")
def test_a_device_that_is_not_attached_reaches_nothing(bound_edu):
    """Before the first attach, and after a detach; an attach lets it on again."""
    one, dma = bound_edu
    iommufd, cdev = one.iommufd, one.cdev
    with told_apart(iommufd) as [(ioas, ours), _]:
        cdev.attach(ioas)
        for _ in range(2):
            dma.copy(PAGE, PAGE + 512, COUNT)
            assert bytes(ours[512 : 512 + COUNT]) == bytes(ours[:COUNT])
            ours[512 : 512 + COUNT] = bytes(COUNT)
            cdev.detach()
            dma.store(PAGE + 512, COUNT)
            assert not any(ours[512:])
            cdev.attach(ioas)


@pytest.mark.promise("P8")
@pytest.mark.iommu_faults("edu")
def test_a_device_that_was_never_attached_reaches_nothing(bound_edu):
    one, dma = bound_edu
    iommufd, cdev = one.iommufd, one.cdev
    with told_apart(iommufd) as [(ioas, ours), _]:
        dma.store(PAGE + 512, COUNT)
        dma.load(PAGE, COUNT)
        cdev.attach(ioas)
        dma.store(PAGE + 512, COUNT)
        assert bytes(ours[:COUNT]) not in bytes(ours[512:])


@pytest.mark.promise("P7")
def test_an_attach_that_is_refused_leaves_attached_what_was(bound_edu):
    """Whatever was wrong; the device reaches what it reached."""
    one, dma = bound_edu
    iommufd, cdev, devid = one.iommufd, one.cdev, one.id
    with told_apart(iommufd) as [(ioas, ours), (_, untouched)], FaultQueue(iommufd) as queue:
        table = cdev.attach(ioas)
        for nothing in (0, NOBODY, 1 << 31, 2**32 - 1):
            assert cdev.attach_errno(nothing) == errno.ENOENT
        for wrong in (devid, queue.id):
            assert cdev.attach_errno(wrong) in (errno.EINVAL, errno.ENOENT)
        short = struct("vfio_device_attach_iommufd_pt", argsz=8, pt_id=ioas.id)
        request = "VFIO_DEVICE_ATTACH_IOMMUFD_PT"
        assert ioctl_errno(cdev.fileno(), request, short)[1] == errno.EINVAL
        assert ioctl_errno(cdev.fileno(), request, ffi.NULL)[1] == errno.EFAULT
        assert iommufd.destroy_errno(table) == errno.EBUSY
        dma.copy(PAGE, PAGE + 512, COUNT)
        assert bytes(ours[512 : 512 + COUNT]) == bytes(ours[:COUNT])
        assert not any(untouched[512:])
        assert cdev.attach(ioas) == table


@pytest.mark.promise("P8")
def test_compatible_devices_share_the_page_table_that_came_with_the_first(edu, e1000e, nvme):
    """Source: Documentation/userspace-api/iommufd.rst; one that we made is nobody's but ours."""
    with contextlib.ExitStack() as stack:
        iommufd = stack.enter_context(Iommufd())
        cdevs = [stack.enter_context(Cdev(each.path)) for each in (edu, e1000e, nvme)]
        devids = [cdev.bind_iommufd(iommufd) for cdev in cdevs]
        ioas = iommufd.ioas_alloc()
        table = hwpt_alloc(iommufd, devids[0], ioas)
        got = [cdev.attach(ioas) for cdev in cdevs]
        assert len(set(got)) == 1
        assert got[0] != table.id
        for cdev in cdevs:
            assert iommufd.destroy_errno(got[0]) == errno.EBUSY
            cdev.attach(table)
        assert iommufd.destroy_errno(got[0]) == errno.ENOENT
        for cdev in cdevs:
            assert table.destroy_errno() == errno.EBUSY
            cdev.close()
        assert table.destroy_errno() == 0


@pytest.mark.promise("P8")
def test_devices_of_one_group_are_attached_to_one_page_table(two_of_a_group):
    """EINVAL for another; the IOMMU can not tell them apart. Replacing it is for both."""
    with contextlib.ExitStack() as stack:
        for function in two_of_a_group:
            stack.enter_context(bound_to(function))
        iommufd = stack.enter_context(Iommufd())
        one, other = (stack.enter_context(Cdev(each.path)) for each in two_of_a_group)
        devids = [cdev.bind_iommufd(iommufd) for cdev in (one, other)]
        dma = [engine(cdev) for cdev in (one, other)]
        [(first, ours), (second, theirs)] = stack.enter_context(told_apart(iommufd))
        table = one.attach(first)
        assert other.attach_errno(second) == errno.EINVAL
        assert other.attach_errno(hwpt_alloc(iommufd, devids[1], second)) == errno.EINVAL
        assert other.attach(first) == table
        new = other.attach(hwpt_alloc(iommufd, devids[1], second))
        assert iommufd.destroy_errno(table) == errno.ENOENT
        for each in dma:
            each.copy(PAGE, PAGE + 512, COUNT)
            assert bytes(theirs[512 : 512 + COUNT]) == bytes(theirs[:COUNT])
            theirs[512 : 512 + COUNT] = bytes(COUNT)
            assert not any(ours[512:])
        for cdev in (one, other):
            assert iommufd.destroy_errno(new) == errno.EBUSY
            cdev.detach()
        assert iommufd.destroy_errno(new) == 0


@pytest.mark.promise("P8")
@pytest.mark.parametrize("kind", ["mtty", "mdpy", "mbochs"])
def test_a_mediated_device_has_no_pasids_to_attach(request, kind):
    """EOPNOTSUPP for attach and detach; nothing is held by the refused one."""
    with Iommufd() as iommufd, Cdev(request.getfixturevalue(kind).path) as cdev:
        cdev.bind_iommufd(iommufd)
        ioas = iommufd.ioas_alloc()
        for pasid in (0, 1, 2**20):
            assert cdev.attach_errno(ioas, pasid) == errno.EOPNOTSUPP
            assert cdev.detach_errno(pasid) == errno.EOPNOTSUPP
        assert ioas.destroy_errno() == 0


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_a_page_table_that_is_not_for_pasids_is_attached_to_none(bound):
    """Neither is one that comes with the attach; the device itself is attached as before.

    Source: linux/iommufd.h, IOMMU_HWPT_ALLOC_PASID.
    """
    iommufd, cdev = bound.iommufd, bound.cdev
    ioas = iommufd.ioas_alloc()
    table = hwpt_alloc(iommufd, bound.id, ioas)
    for attached in (False, True):
        if attached:
            cdev.attach(table)
        for pasid in (1, 5, 2**20 - 1):
            for what in (ioas, table):
                answer = cdev.attach_errno(what, pasid)
                assert answer in (errno.EINVAL, errno.EOPNOTSUPP)
            assert cdev.attach_errno(NOBODY, pasid) == errno.ENOENT
            assert cdev.detach_errno(pasid) == 0
    short = struct("vfio_device_detach_iommufd_pt", argsz=8, flags=lib.VFIO_DEVICE_DETACH_PASID)
    answer = ioctl_errno(cdev.fileno(), "VFIO_DEVICE_DETACH_IOMMUFD_PT", short)[1]
    assert answer == errno.EINVAL
    assert table.destroy_errno() == errno.EBUSY
    cdev.detach()
    assert table.destroy_errno() == 0
    assert ioas.destroy_errno() == 0
