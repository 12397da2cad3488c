"""This file checks that a group belongs to user space or to native drivers, as a whole (P4).

Source: iommu_group_claim_dma_owner() and iommu_device_use_default_domain(), through which every PCI
driver but VFIO's goes before its probe, in drivers/iommu/iommu.c.
"""

import contextlib
import errno
from collections.abc import Iterator

import pytest

from vfio_hw.errors import KernelRefused, Unsupported
from vfio_hw.fixtures.devices import takeable
from vfio_hw.fixtures.machine import loaded_driver
from vfio_hw.host.binding import bound_to, set_driver_override
from vfio_hw.host.blocking import write_with_deadline
from vfio_hw.host.pci import PciFunction
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.opened import opened

# Built into the kernel of every guest, and finds nothing of its own in an edu: a function that it
# is offered stays without a driver, whatever it answers.
NATIVE = "virtio-pci"
PROMPT = 10.0


def offered_errno(function: PciFunction, driver: str) -> int:
    """What the kernel says when the driver is to be bound to the function."""
    before = function.driver_override
    set_driver_override(function, driver)
    try:
        place = function.bus / "drivers" / driver / "bind"
        write_with_deadline(place, function.address, PROMPT)
    except KernelRefused as refused:
        return refused.errno or 0
    finally:
        set_driver_override(function, before)
    return 0


@pytest.mark.promise("P4")
def test_no_native_driver_gets_a_function_while_its_group_is_used(two_free_of_a_group, iommu_mode):
    """Its probe is not even called: its own answer, which it has before and after, is another."""
    one, other = two_free_of_a_group
    assert offered_errno(other, NATIVE) == errno.ENODEV
    with bound_to(one):
        assert offered_errno(other, NATIVE) == errno.ENODEV
        with opened(one.path, iommu_mode) as user:
            assert offered_errno(other, NATIVE) == errno.EBUSY
            assert user.device.info_errno() == 0
        assert offered_errno(other, NATIVE) == errno.ENODEV


@pytest.mark.promise("P4")
def test_a_container_alone_keeps_native_drivers_from_its_groups(two_free_of_a_group):
    one, other = two_free_of_a_group
    with bound_to(one), Container() as container, Group(one.iommu_group) as group:
        assert offered_errno(other, NATIVE) == errno.ENODEV
        group.set_container(container)
        assert offered_errno(other, NATIVE) == errno.EBUSY
        group.unset_container()
        assert offered_errno(other, NATIVE) == errno.ENODEV


@pytest.mark.promise("P4")
def test_one_group_has_devices_of_both_its_functions(two_of_a_group):
    """Both are VFIO's, so the group is viable; each is got by its own name, and they share it."""
    one, other = two_of_a_group
    with bound_to(one), bound_to(other), opened(one.path, "vfio_type1v2_iommu") as user:
        assert one.iommu_group == other.iommu_group
        with user.group.device(other.address) as second:
            user.device.close()
            assert user.group.unset_container_errno() == errno.EBUSY
            assert second.info_errno() == 0
        assert user.group.unset_container_errno() == 0


@pytest.mark.promise("P5")
def test_functions_of_one_group_are_bound_to_one_iommufd_only(two_of_a_group):
    """The first takes the group for its iommufd; another one gets the second when it is free.

    EPERM of iommu_device_claim_dma_owner(), until then.
    """
    one, other = two_of_a_group
    with bound_to(one), bound_to(other), Iommufd() as iommufd, Iommufd() as foreign:
        with Cdev(one.path) as first, Cdev(other.path) as second:
            first.bind_iommufd(iommufd)
            assert second.bind_iommufd_errno(foreign) == errno.EPERM
            assert second.info_errno() == errno.EINVAL
            assert second.bind_iommufd_errno(iommufd) == 0
            first.close()
            second.close()
        with Cdev(other.path) as second:
            assert second.bind_iommufd_errno(foreign) == 0


@contextlib.contextmanager
def native(function: PciFunction, driver: str) -> Iterator[None]:
    """The function's own driver has it inside."""
    with loaded_driver(driver), bound_to(function, driver):
        yield


@pytest.fixture
def shared_e1000e(pytestconfig: pytest.Config, two_of_a_group) -> PciFunction:
    """An e1000e in the group of the two edu functions.

    :raises Unsupported: there is none that the tests may take.
    """
    group = two_of_a_group[0].iommu_group
    for function in takeable(pytestconfig, "e1000e"):
        if function.iommu_group == group:
            return function
    raise Unsupported(
        f"no e1000e to be taken is in IOMMU group {group}, two edu functions share it"
    )


@pytest.mark.promise("P4")
def test_a_group_with_a_native_driver_is_not_viable(two_of_a_group, shared_e1000e):
    """It has a node, opens and says so; nothing of it can be used, until the driver is gone.

    EPERM of iommu_group_claim_dma_owner() and iommu_device_claim_dma_owner().
    """
    one, _ = two_of_a_group
    with bound_to(one), Container() as container, Iommufd() as iommufd:
        with native(shared_e1000e, "e1000e"):
            with Group(one.iommu_group) as group:
                assert not group.status().viable
                assert group.set_container_errno(container) == errno.EPERM
                assert not group.status().container_set
                group.set_container(iommufd)
                assert group.device_errno(one.address) == errno.EPERM
            with Cdev(one.path) as cdev:
                assert cdev.bind_iommufd_errno(iommufd) == errno.EPERM
        with Group(one.iommu_group) as group:
            assert group.status().viable
            assert group.set_container_errno(container) == 0
