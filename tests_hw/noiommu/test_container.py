"""This file checks containers of groups that no IOMMU guards: they map nothing, and do not mix.

Source: linux/vfio.h, VFIO_NOIOMMU_IOMMU; Documentation/driver-api/vfio.rst, "VFIO NOIOMMU mode".
Promises: P4, P8, and P7: what was refused leaves group and container as they were.
"""

import errno

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.uapi import ioctl_errno, lib, struct
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.dma import PAGE, memory
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.names import group_path
from vfio_hw.vfio.opened import opened

pytestmark = pytest.mark.machine("noiommu")

NOIOMMU = lib.VFIO_NOIOMMU_IOMMU
GUARDED = [lib.VFIO_TYPE1_IOMMU, lib.VFIO_TYPE1v2_IOMMU]
KINDS = [Container, Iommufd]
#: What each answers when its group goes with no IOMMU of the type.
NO_DRIVER = {Container: errno.ENODEV, Iommufd: errno.EINVAL}


def group_of(target: Target) -> Group:
    return Group(group_path(target.path).name)


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@pytest.mark.parametrize("kind", KINDS)
def test_its_container_has_no_other_iommu(bare: Target, kind):
    """It is refused every other type, before and after it has this one, and is usable then.

    A container finds no driver for it, an iommufd knows no such type: vfio_ioctl_set_iommu(),
    iommufd_vfio_set_iommu().
    """
    with kind() as container, group_of(bare) as group:
        assert container.set_iommu_errno(NOIOMMU) == errno.EINVAL, "it has no group"
        group.set_container(container)
        assert group.status().container_set
        for type1 in GUARDED:
            assert container.check_extension(type1) == 0
            assert container.set_iommu_errno(type1) == NO_DRIVER[kind]
        assert container.check_extension(NOIOMMU) == 1
        container.set_iommu(NOIOMMU)
        for type1 in GUARDED:
            assert container.set_iommu_errno(type1) == errno.EINVAL
        with group.device(bare.name) as device:
            assert device.info_errno() == 0
        group.unset_container()
        assert not group.status().container_set


@pytest.mark.promise("P8")
@pytest.mark.parametrize("kind", KINDS)
def test_its_container_maps_nothing(bare: Target, kind):
    """A container knows no such request, an iommufd has no address space to serve it.

    Source: vfio_noiommu_ioctl(), get_compat_ioas().
    """
    refusal = errno.ENODEV if kind is Iommufd else errno.ENOTTY
    with kind() as container, group_of(bare) as group, memory() as ours:
        group.set_container(container)
        container.set_iommu(NOIOMMU)
        with group.device(bare.name):
            info = struct("vfio_iommu_type1_info")
            assert ioctl_errno(container.fileno(), "VFIO_IOMMU_GET_INFO", info)[1] == refusal
            assert container.map_dma_errno(PAGE, ours.vaddr, ours.size) == refusal
            assert container.unmap_dma_errno(PAGE, ours.size) == refusal


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", ["guarded", "bare"])
def test_a_container_has_groups_of_one_sort(bare: Target, mtty, kind, first):
    """A mediated device is guarded by its driver; no container has it and one that nobody guards.

    The refused group is not in the container, and goes into another. Source:
    vfio_container_attach_group(); iommufd_vfio_compat_ioas_create() and _set_no_iommu().
    """
    refusal = errno.EINVAL if kind is Iommufd else errno.EPERM
    with kind() as container, group_of(bare) as group, Group(mtty.iommu_group) as guarded:
        one, other = (guarded, group) if first == "guarded" else (group, guarded)
        one.set_container(container)
        for _ in range(3):
            assert other.set_container_errno(container) == refusal
            assert not other.status().container_set
        with kind() as another:
            other.set_container(another)
            another.set_iommu(NOIOMMU if other is group else lib.VFIO_TYPE1v2_IOMMU)
            with other.device(bare.name if other is group else mtty.uuid) as device:
                assert device.info_errno() == 0
            other.unset_container()
        container.set_iommu(NOIOMMU if one is group else lib.VFIO_TYPE1v2_IOMMU)
        with one.device(bare.name if one is group else mtty.uuid) as device:
            assert device.info_errno() == 0


@pytest.mark.promise("P8")
@pytest.mark.parametrize("kind", KINDS)
def test_a_mediated_device_needs_no_such_container(mtty, noiommu, kind):
    """What its driver guards is never used without."""
    with kind() as container, Group(mtty.iommu_group) as group:
        group.set_container(container)
        assert container.set_iommu_errno(NOIOMMU) == NO_DRIVER[kind]
        container.set_iommu(lib.VFIO_TYPE1v2_IOMMU)
        with group.device(mtty.uuid) as device:
            assert device.info_errno() == 0


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_iommufd_with_mappings_for_a_container_does_not_serve_it(bare: Target, when):
    """Who gave it an address space may think that the device is kept to it."""
    with Iommufd() as iommufd, group_of(bare) as group:
        if when == "after":
            group.set_container(iommufd)
            iommufd.set_iommu(NOIOMMU)
        iommufd.set_vfio_ioas(iommufd.ioas_alloc())
        if when == "before":
            assert group.set_container_errno(iommufd) == errno.EINVAL
            assert not group.status().container_set
        else:
            assert group.device_errno(bare.name) == errno.EPERM
            iommufd.clear_vfio_ioas()
            with group.device(bare.name) as device:
                assert device.info_errno() == 0
    with opened(bare.path, "iommufd_compat_noiommu") as user:
        assert user.device.info_errno() == 0
