"""This file checks that a bind or attach that fails, or ends, leaves nothing (P7, P5).

What an iommufd still holds can be destroyed, or is in use; and where it gives an object the lowest
free number, what it holds shows in those that the next ones get.
"""

import errno

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.fixtures.iommufd import readable_only
from vfio_hw.uapi import ffi, ioctl_errno, lib, struct
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.descriptor import errno_of
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.opened import opened

BIND, ATTACH = "VFIO_DEVICE_BIND_IOMMUFD", "VFIO_DEVICE_ATTACH_IOMMUFD_PT"
DETACH = "VFIO_DEVICE_DETACH_IOMMUFD_PT"
# Numbers behind the last one, of which an object may have one that went before it.
MORE = 64


def answer(cdev: Cdev, request: str, argument: object) -> int:
    return ioctl_errno(cdev.fileno(), request, argument)[1]


def lowest(iommufd: Iommufd) -> int | None:
    """The number of the next object; None when one that is free again is not the next."""
    one, other = iommufd.ioas_alloc(), iommufd.ioas_alloc()
    for ioas in (other, one):
        iommufd.destroy(ioas.id)
    again = iommufd.ioas_alloc()
    iommufd.destroy(again.id)
    return one.id if again.id == one.id else None


def left(iommufd: Iommufd) -> list[int]:
    """The numbers that name an object, among all that were given and some more."""
    last = iommufd.ioas_alloc()
    iommufd.destroy(last.id)
    answers = {number: iommufd.destroy_errno(number) for number in range(last.id + MORE)}
    return [number for number, answer in answers.items() if answer != errno.ENOENT]


@pytest.mark.promise("P5")
@pytest.mark.promise("P7")
def test_a_device_whose_bind_failed_is_not_bound_and_binds(device: Target):
    """Whatever was wrong: no number is spent, and the group is as free as before."""
    with Iommufd() as iommufd, Cdev(device.path) as cdev:
        before = lowest(iommufd)
        good = {"iommufd": iommufd.fileno()}
        for _ in range(2):
            for bit in (1, 2, 31):
                wrong = struct("vfio_device_bind_iommufd", flags=1 << bit, **good)
                assert answer(cdev, BIND, wrong) == errno.EINVAL
            longer = ffi.new("uint8_t[]", ffi.sizeof("struct vfio_device_bind_iommufd") + 8)
            bind = ffi.cast("struct vfio_device_bind_iommufd *", longer)
            bind.argsz, bind.iommufd, longer[len(longer) - 1] = len(longer), good["iommufd"], 1
            assert answer(cdev, BIND, longer) == errno.E2BIG
            with EventFd() as other:
                assert cdev.bind_iommufd_errno(other) == errno.EBADFD
            with readable_only(struct("vfio_device_bind_iommufd", **good)) as argument:
                assert answer(cdev, BIND, argument) == errno.EFAULT
            assert cdev.info_errno() == errno.EINVAL
            assert errno_of(Group)(device.iommu_group) == 0
            assert left(iommufd) == []
        assert cdev.bind_iommufd(iommufd) == before or before is None
        assert cdev.info_errno() == 0


@pytest.mark.promise("P5")
@pytest.mark.promise("P7")
def test_an_attach_that_can_not_be_told_is_none(device: Target):
    with Iommufd() as iommufd, Cdev(device.path) as cdev:
        cdev.bind_iommufd(iommufd)
        for _ in range(2):
            ioas = iommufd.ioas_alloc()
            request = struct("vfio_device_attach_iommufd_pt", pt_id=ioas.id)
            with readable_only(request) as argument:
                assert answer(cdev, ATTACH, argument) == errno.EFAULT
            assert iommufd.destroy_errno(ioas.id) == 0, "it is attached"
        ioas = iommufd.ioas_alloc()
        cdev.attach(ioas)
        assert iommufd.destroy_errno(ioas.id) == errno.EBUSY


@pytest.mark.promise("P7")
def test_a_replacement_that_can_not_be_told_is_none(device: Target):
    """Source: linux/vfio.h, VFIO_DEVICE_ATTACH_IOMMUFD_PT; what was attached before still is."""
    with Iommufd() as iommufd, Cdev(device.path) as cdev:
        cdev.bind_iommufd(iommufd)
        old, new = iommufd.ioas_alloc(), iommufd.ioas_alloc()
        cdev.attach(old)
        with readable_only(struct("vfio_device_attach_iommufd_pt", pt_id=new.id)) as argument:
            assert answer(cdev, ATTACH, argument) == errno.EFAULT
        assert new.destroy_errno() == 0
        assert old.destroy_errno() == errno.EBUSY, "nothing is attached any more"


@pytest.mark.promise("P8")
def test_attach_and_detach_refuse_flags_without_a_meaning(device: Target):
    with Iommufd() as iommufd, Cdev(device.path) as cdev:
        cdev.bind_iommufd(iommufd)
        ioas = iommufd.ioas_alloc()
        for bit in (1, 2, 31):
            attach = struct("vfio_device_attach_iommufd_pt", flags=1 << bit, pt_id=ioas.id)
            assert answer(cdev, ATTACH, attach) == errno.EINVAL
            detach = struct("vfio_device_detach_iommufd_pt", flags=1 << bit)
            assert answer(cdev, DETACH, detach) == errno.EINVAL
        short = struct(
            "vfio_device_attach_iommufd_pt",
            argsz=ffi.offsetof("struct vfio_device_attach_iommufd_pt", "pasid"),
            flags=lib.VFIO_DEVICE_ATTACH_PASID,
            pt_id=ioas.id,
        )
        assert answer(cdev, ATTACH, short) in (errno.EINVAL, errno.EOPNOTSUPP)
        assert iommufd.destroy_errno(ioas.id) == 0


@pytest.mark.promise("P5")
@pytest.mark.promise("P9")
def test_numbers_of_an_iommufd_come_back_with_every_user_that_goes(device: Target):
    """Whether it detached or not: nothing is left, and the lowest free ones are the same."""
    seen = []
    with Iommufd() as iommufd:
        before = lowest(iommufd)
        for detached in (True, False) * 2:
            with Cdev(device.path) as cdev:
                devid, ioas = cdev.bind_iommufd(iommufd), iommufd.ioas_alloc()
                seen.append((devid, ioas.id, cdev.attach(ioas)))
                for busy in (devid, ioas.id):
                    assert iommufd.destroy_errno(busy) == errno.EBUSY
                if detached:
                    cdev.detach()
                    assert iommufd.destroy_errno(devid) == errno.EBUSY
            assert iommufd.destroy_errno(devid) == errno.ENOENT
            assert iommufd.destroy_errno(ioas.id) == 0
            assert iommufd.destroy_errno(ioas.id) == errno.ENOENT
            assert left(iommufd) == []
        assert before == lowest(iommufd)
    assert len(set(seen)) == 1 or before is None


@pytest.mark.promise("P5")
def test_one_address_space_serves_several_devices_and_is_held_by_the_last(mtty, edu):
    with opened(mtty.path, "iommufd") as user, Cdev(edu.path) as second:
        ioas, iommufd = user.iommu, user.iommufd
        ids = {second.bind_iommufd(iommufd), ioas.id}
        assert len(ids) == 2
        second.attach(ioas)
        user.cdev.detach()
        assert iommufd.destroy_errno(ioas.id) == errno.EBUSY
        user.cdev.attach(ioas)
        second.close()
        assert iommufd.destroy_errno(ioas.id) == errno.EBUSY
        user.cdev.close()
        assert iommufd.destroy_errno(ioas.id) == 0
