"""This file checks the order of steps on the group path, and that one opener excludes another (P4).

It also checks what the container refuses (P8).
"""

import errno
from pathlib import Path

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.fixtures.argsz import ending
from vfio_hw.host import kconfig
from vfio_hw.uapi import ffi, ioctl_errno, lib
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.descriptor import errno_of
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.dma import PAGE
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.group import Group, GroupStatus
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.opened import opened

CONTAINER_MODES = ["vfio_type1_iommu", "vfio_type1v2_iommu"]
GROUP_MODES = [*CONTAINER_MODES, "iommufd_compat_type1", "iommufd_compat_type1v2"]
FREE = GroupStatus(viable=True, container_set=False)
USED = GroupStatus(viable=True, container_set=True)


@pytest.mark.promise("P4")
def test_a_group_has_one_opener_at_a_time(device: Target):
    with Group(device.iommu_group):
        assert errno_of(Group)(device.iommu_group) == errno.EBUSY
    assert errno_of(Group)(device.iommu_group) == 0


@pytest.mark.promise("P8")
@pytest.mark.parametrize("kind", [Container, Iommufd])
def test_the_status_of_a_group_follows_its_container(device: Target, kind):
    with kind() as container, Group(device.iommu_group) as group:
        assert group.status() == FREE
        group.set_container(container)
        assert group.status() == USED
        group.unset_container()
        assert group.status() == FREE


@pytest.mark.promise("P8")
def test_no_device_is_handed_out_before_the_container_has_an_iommu(device: Target):
    with Container() as container, Group(device.iommu_group) as group:
        assert group.device_errno(device.name) == errno.EINVAL
        group.set_container(container)
        assert group.device_errno(device.name) == errno.EINVAL
        container.set_iommu(lib.VFIO_TYPE1v2_IOMMU)
        assert group.device_errno(device.name) == 0


@pytest.mark.promise("P8")
def test_no_device_is_handed_out_before_the_group_has_an_iommufd(device: Target):
    """An iommufd is an IOMMU by itself: SET_IOMMU only chooses how its container part behaves."""
    with Iommufd() as iommufd, Group(device.iommu_group) as group:
        assert group.device_errno(device.name) == errno.EINVAL
        group.set_container(iommufd)
        assert group.device_errno(device.name) == 0


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", GROUP_MODES)
def test_only_the_whole_name_names_a_device(device: Target, mode):
    with opened(device.path, mode) as user:
        for name in ("", device.name[:-1], device.name + "0", "0000:ff:1f.7"):
            assert user.group.device_errno(name) == errno.ENODEV, name
        assert user.group.device_errno(device.name) == 0


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_a_name_that_can_not_be_read_or_does_not_end_names_no_device(device: Target):
    """EFAULT where it can not be read; what is as long as a page is too long to be one.

    Source: strndup_user() in vfio_group_ioctl_get_device_fd(), drivers/vfio/group.c.
    """
    name = device.name.encode()
    with opened(device.path, CONTAINER_MODES[1]) as user:
        fd, request = user.group.fileno(), "VFIO_GROUP_GET_DEVICE_FD"
        assert ioctl_errno(fd, request, ffi.NULL)[1] == errno.EFAULT
        for text in (b"", name[:1], name, name.ljust(PAGE - 1, b"x")):
            with ending(text) as argument:
                assert ioctl_errno(fd, request, argument)[1] == errno.EFAULT, len(text)
        for length in (PAGE, 2 * PAGE, 1 << 20):
            text = device.name.ljust(length, "x")
            assert user.group.device_errno(text) in (errno.EINVAL, errno.ENODEV), length
        with ending(name.ljust(PAGE, b"x")) as argument:
            answer = ioctl_errno(fd, request, argument)[1]
            assert answer in (errno.EINVAL, errno.EFAULT)
        assert user.group.device_errno(device.name.ljust(PAGE - 1, "x")) == errno.ENODEV
        with ending(name + b"\0") as argument:
            opened_fd, answer = ioctl_errno(fd, request, argument)
            assert answer == 0
        with Device(opened_fd, device.name) as second:
            assert second.info_errno() == 0


def not_recognized() -> set[int]:
    """The answers to a file that is neither a container nor an iommufd: EBADFD.

    Before a group took iommufds it was EINVAL. Containers have been an option since: "vfio: Make
    vfio_container optionally compiled". A kernel that does not say how it was configured, and has
    no iommufd, may be either.
    """
    configured = kconfig.options()
    takes_both = "CONFIG_VFIO_CONTAINER" in (configured or ()) or Path("/dev/iommu").exists()
    if takes_both:
        return {errno.EBADFD}
    return {errno.EINVAL} if configured is not None else {errno.EBADFD, errno.EINVAL}


@pytest.mark.promise("P8")
def test_a_group_takes_only_one_container_and_nothing_else(device: Target):
    with Container() as container, Group(device.iommu_group) as group:
        with EventFd() as neither:
            assert group.set_container_errno(neither) in not_recognized()
        assert group.unset_container_errno() == errno.EINVAL
        assert group.set_container_errno(container) == 0
        assert group.set_container_errno(container) == errno.EINVAL


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_what_is_no_container_leaves_a_group_without_one(device: Target, mdpy):
    """A group, its own too, or a device; EBADF for what is not open, EFAULT for no number."""
    with (
        opened(mdpy.path, CONTAINER_MODES[0]) as other,
        Container() as container,
        Group(device.iommu_group) as group,
    ):
        with EventFd() as file:
            closed = file.fileno()
        for _ in range(2):
            for neither in (other.group, group, other.device):
                assert group.set_container_errno(neither) in not_recognized(), neither
            for number in (-1, closed, 2**31 - 1, -(2**31)):
                assert group.set_container_errno(number) == errno.EBADF, number
            request = "VFIO_GROUP_SET_CONTAINER"
            assert ioctl_errno(group.fileno(), request, ffi.NULL)[1] == errno.EFAULT
            assert group.status() == FREE
            assert group.unset_container_errno() == errno.EINVAL
        assert other.group.status() == USED
        assert group.set_container_errno(container) == 0


@pytest.mark.promise("P4")
@pytest.mark.parametrize("mode", CONTAINER_MODES)
def test_a_group_stays_in_its_container_while_a_device_is_open(device: Target, mode):
    with opened(device.path, mode) as user:
        assert user.group.unset_container_errno() == errno.EBUSY
        user.device.close()
        assert user.group.unset_container_errno() == 0


@pytest.mark.promise("P4")
@pytest.mark.parametrize("mode", GROUP_MODES)
def test_the_group_hands_a_device_out_more_than_once(device: Target, mode):
    with opened(device.path, mode) as user, user.group.device(device.name) as second:
        user.device.close()
        assert second.info_errno() == 0


@pytest.mark.promise("P4")
@pytest.mark.parametrize("mode", GROUP_MODES)
def test_a_device_outlives_the_descriptors_of_group_and_container(device: Target, mode):
    with opened(device.path, mode) as user:
        user.container.close()
        user.group.close()
        assert user.device.info_errno() == 0
    assert errno_of(Group)(device.iommu_group) == 0


@pytest.mark.promise("P4")
@pytest.mark.parametrize("mode", CONTAINER_MODES)
def test_an_open_device_keeps_its_group_busy(device: Target, mode):
    """A device opened through a container holds the group's file, through an iommufd it does not.

    Source: get_file() in vfio_group_use_container(), drivers/vfio/container.c.
    """
    with opened(device.path, mode) as user:
        user.group.close()
        assert errno_of(Group)(device.iommu_group) == errno.EBUSY
        user.device.close()
        assert errno_of(Group)(device.iommu_group) == 0


@pytest.mark.promise("P8")
@pytest.mark.parametrize("kind", [Container, Iommufd])
def test_set_iommu_needs_a_group_and_a_type_that_exists(device: Target, kind):
    """Both without a group and for another type the header names no errno; either will do."""
    refusals = (errno.EINVAL, errno.ENODEV)
    with kind() as container, Group(device.iommu_group) as group:
        assert container.set_iommu_errno(lib.VFIO_TYPE1v2_IOMMU) in refusals
        group.set_container(container)
        assert container.check_extension(lib.VFIO_SPAPR_TCE_IOMMU) == 0
        assert container.set_iommu_errno(lib.VFIO_SPAPR_TCE_IOMMU) in refusals
        assert container.check_extension(lib.VFIO_TYPE1v2_IOMMU) == 1
        assert container.set_iommu_errno(lib.VFIO_TYPE1v2_IOMMU) == 0


@pytest.mark.promise("P8")
@pytest.mark.parametrize("kind", [Container, Iommufd])
def test_a_container_offers_both_type1_versions_and_unmap_all(kind):
    with kind() as container:
        assert container.api_version() == lib.VFIO_API_VERSION
        assert container.check_extension(lib.VFIO_TYPE1_IOMMU) == 1
        assert container.check_extension(lib.VFIO_TYPE1v2_IOMMU) == 1
        assert container.check_extension(lib.VFIO_UNMAP_ALL) == 1
