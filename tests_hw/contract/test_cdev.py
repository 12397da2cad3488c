"""This file checks the order of steps on the character device, and that group use excludes it (P5).

A device bound through its character device has that one user; a group that is open has none bound.
"""

import errno

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.descriptor import errno_of
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.opened import opened


@pytest.mark.promise("P5")
def test_only_an_iommufd_can_be_bound(device: Target):
    """And what was refused leaves nothing behind: the real one binds afterwards (P7)."""
    with Iommufd() as iommufd, Cdev(device.path) as cdev:
        with EventFd() as other:
            assert cdev.bind_iommufd_errno(other) == errno.EBADFD
            number = other.fileno()
        assert cdev.bind_iommufd_errno(number) == errno.EBADF
        assert cdev.bind_iommufd_errno(-1) == errno.EINVAL
        assert cdev.info_errno() == errno.EINVAL
        assert cdev.bind_iommufd(iommufd) > 0
        assert cdev.info_errno() == 0


@pytest.mark.promise("P5")
def test_a_device_is_bound_once(device: Target):
    with Iommufd() as iommufd, Cdev(device.path) as first, Cdev(device.path) as second:
        first.bind_iommufd(iommufd)
        assert first.bind_iommufd_errno(iommufd) == errno.EINVAL
        assert second.bind_iommufd_errno(iommufd) == errno.EINVAL
        assert second.info_errno() == errno.EINVAL
        first.close()
        assert second.bind_iommufd_errno(iommufd) == 0
        assert second.info_errno() == 0


@pytest.mark.promise("P5")
def test_a_bound_device_keeps_its_group_closed(device: Target):
    group = errno_of(Group)
    with Iommufd() as iommufd, Cdev(device.path) as cdev:
        assert group(device.iommu_group) == 0, "a character device that is only open is no user"
        cdev.bind_iommufd(iommufd)
        assert group(device.iommu_group) == errno.EBUSY
    assert group(device.iommu_group) == 0


@pytest.mark.promise("P5")
def test_an_open_group_keeps_its_devices_from_being_bound(device: Target):
    with Iommufd() as iommufd, Cdev(device.path) as cdev:
        with Group(device.iommu_group):
            assert cdev.bind_iommufd_errno(iommufd) == errno.EBUSY
        assert cdev.bind_iommufd_errno(iommufd) == 0


@pytest.mark.promise("P5")
def test_a_device_from_its_group_can_not_be_bound(device: Target):
    with opened(device.path, "iommufd_compat_type1v2") as user, Cdev(device.path) as cdev:
        assert cdev.bind_iommufd_errno(user.iommufd) == errno.EBUSY


@pytest.mark.promise("P5")
def test_a_device_attaches_only_to_what_exists(device: Target):
    """And is no address space itself, whether it is told that there is none or that this is none.

    Source: linux/vfio.h, VFIO_DEVICE_ATTACH_IOMMUFD_PT, which names no errno.
    """
    with Iommufd() as iommufd, Cdev(device.path) as cdev:
        devid = cdev.bind_iommufd(iommufd)
        ioas = iommufd.ioas_alloc()
        assert cdev.attach_errno(ioas.id + 1000) == errno.ENOENT
        assert cdev.attach_errno(devid) in (errno.ENOENT, errno.EINVAL)
        assert cdev.attach_errno(ioas) == 0


@pytest.mark.promise("P5")
def test_an_attached_device_holds_its_address_space_until_it_is_detached(device: Target):
    with opened(device.path, "iommufd") as user:
        ioas = user.iommu
        assert user.iommufd.destroy_errno(ioas.id) == errno.EBUSY
        assert user.cdev.detach_errno() == 0
        assert user.iommufd.destroy_errno(ioas.id) == 0
        assert user.cdev.attach_errno(ioas.id) == errno.ENOENT


@pytest.mark.promise("P5")
def test_attaching_again_replaces_the_address_space(device: Target):
    with opened(device.path, "iommufd") as user:
        first, second = user.iommu, user.iommufd.ioas_alloc()
        assert user.cdev.attach_errno(second) == 0
        assert user.iommufd.destroy_errno(first.id) == 0
        assert user.iommufd.destroy_errno(second.id) == errno.EBUSY


@pytest.mark.promise("P5")
def test_detaching_what_is_not_attached_changes_nothing(device: Target):
    with Iommufd() as iommufd, Cdev(device.path) as cdev:
        cdev.bind_iommufd(iommufd)
        assert cdev.detach_errno() == 0
        assert cdev.attach_errno(iommufd.ioas_alloc()) == 0


@pytest.mark.promise("P5")
def test_a_bound_device_outlives_the_descriptor_of_its_iommufd(device: Target):
    with opened(device.path, "iommufd") as user:
        user.iommufd.close()
        assert user.device.info_errno() == 0
        assert user.cdev.detach_errno() == 0
