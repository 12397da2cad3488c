"""This file checks that a container is as new when its last group has left it (P3, P8).

It also checks that a group keeps to the one container, and its one opener, that it has (P4).
"""

import errno

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.uapi import ioctl_errno, lib, struct
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.descriptor import errno_of
from vfio_hw.vfio.dma import accounted, first_iova, memory
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.opened import opened

CONTAINER_MODES = ["vfio_type1_iommu", "vfio_type1v2_iommu"]
TYPES = [lib.VFIO_TYPE1_IOMMU, lib.VFIO_TYPE1v2_IOMMU]


def info_errno(container: Container) -> int:
    """What the container answers when it is asked about its IOMMU."""
    info = struct("vfio_iommu_type1_info")
    return ioctl_errno(container.fileno(), "VFIO_IOMMU_GET_INFO", info)[1]


@pytest.mark.promise("P3")
def test_a_container_is_as_new_after_its_last_group_left(device: Target):
    """Its IOMMU is gone with all mappings, and it takes either type again, once."""
    before = accounted()
    with Container() as container, Group(device.iommu_group) as group, memory() as ours:
        for kind in (*TYPES, *TYPES):
            assert info_errno(container) == errno.EINVAL, "it has an IOMMU and no group"
            assert group.set_container_errno(container) == 0
            assert info_errno(container) == errno.EINVAL, "it has an IOMMU that nobody chose"
            assert container.set_iommu_errno(kind) == 0
            assert container.set_iommu_errno(kind) == errno.EINVAL
            info, iova = container.get_info(), first_iova(container)
            container.map_dma(iova, ours.vaddr, ours.size)
            with group.device(device.name):
                assert group.unset_container_errno() == errno.EBUSY
            assert container.get_info().dma_avail == info.dma_avail - 1
            assert group.unset_container_errno() == 0
            assert accounted() == before
        assert group.unset_container_errno() == errno.EINVAL


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", CONTAINER_MODES)
def test_a_group_does_not_change_its_container(device: Target, mode):
    """Neither for another, nor for an iommufd; the other is left without a group."""
    with opened(device.path, mode) as user, Container() as other, Iommufd() as iommufd:
        for container in (other, iommufd, user.container):
            assert user.group.set_container_errno(container) == errno.EINVAL
        assert other.set_iommu_errno(lib.VFIO_TYPE1v2_IOMMU) == errno.EINVAL
        assert iommufd.vfio_ioas_errno() == errno.ENODEV
        assert user.group.status().container_set
        assert user.device.info_errno() == 0


@pytest.mark.promise("P4")
def test_a_refused_opener_takes_nothing_from_the_one_who_has_the_group(device: Target):
    """However often it is refused: it neither locks the group for good, nor opens it."""
    with Group(device.iommu_group) as group:
        for _ in range(3):
            assert errno_of(Group)(device.iommu_group) == errno.EBUSY
        assert group.status().viable
    with Group(device.iommu_group):
        assert errno_of(Group)(device.iommu_group) == errno.EBUSY
    assert errno_of(Group)(device.iommu_group) == 0


@pytest.mark.promise("P4")
@pytest.mark.parametrize("mode", CONTAINER_MODES)
def test_the_group_is_free_when_the_last_of_its_device_files_is_closed(device: Target, mode):
    """Until then it is taken, and its mappings last, though group and container were closed."""
    before = accounted()
    with memory() as ours, opened(device.path, mode) as user:
        second = user.group.device(device.name)
        user.container.map_dma(first_iova(user.iommu), ours.vaddr, ours.size)
        mapped = accounted()
        user.container.close()
        user.group.close()
        for file in (user.device, second):
            assert errno_of(Group)(device.iommu_group) == errno.EBUSY
            assert accounted() == mapped
            file.close()
        assert errno_of(Group)(device.iommu_group) == 0
        assert accounted() == before


@pytest.mark.promise("P4")
@pytest.mark.parametrize("kind", [Container, Iommufd])
def test_one_container_serves_two_groups_and_lasts_as_long_as_either(mtty, edu, kind):
    with kind() as container, Group(mtty.iommu_group) as first, Group(edu.iommu_group) as second:
        first.set_container(container)
        container.set_iommu(lib.VFIO_TYPE1v2_IOMMU)
        second.set_container(container)
        with first.device(mtty.uuid) as one, second.device(edu.address) as other:
            assert (one.info_errno(), other.info_errno()) == (0, 0)
            assert first.device_errno(edu.address) == errno.ENODEV
            assert second.device_errno(mtty.uuid) == errno.ENODEV
        for group in (second, first):
            assert info_errno(container) == 0
            group.unset_container()
        # The address space of an iommufd is the iommufd's own.
        assert info_errno(container) == (0 if kind is Iommufd else errno.EINVAL)
