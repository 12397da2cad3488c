"""This file checks that a bus with virtual functions on it has no owner, who could reset it (P8).

A virtual function goes with its physical one when that is reset, and may be another user's: with a
token of its own in another iommufd, on the same bus. Source: linux/vfio.h,
VFIO_DEVICE_GET_PCI_HOT_RESET_INFO; vfio_pci_core_register_device(), which counts a virtual function
to no bus.
"""

import contextlib
import errno
from collections.abc import Iterator
from uuid import UUID

import pytest

from tests_hw.sriov.conftest import through_cdev
from vfio_hw.errors import Unsupported
from vfio_hw.host import sriov
from vfio_hw.host.pci import PciFunction
from vfio_hw.uapi import lib
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.config import COMMAND, COMMAND_MASTER, VENDOR
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.hot_reset import NOT_OWNED, hot_reset_errno, hot_reset_info
from vfio_hw.vfio.iommufd import Iommufd

pytestmark = pytest.mark.machine("sr-iov")

TOKEN = UUID(int=0x9ABC << 64)
DEV_ID = lib.VFIO_PCI_HOT_RESET_FLAG_DEV_ID
OWNED = lib.VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED


@pytest.fixture
def beside(physical: PciFunction) -> Iterator[list[PciFunction]]:
    """Two virtual functions on the bus of the physical one, whose token is TOKEN.

    :raises Unsupported: they are on another bus.
    """
    with through_cdev(physical, TOKEN):
        pass
    with sriov.enabled(physical, 2) as found:
        bus = physical.address.rpartition(":")[0]
        if any(each.address.rpartition(":")[0] != bus for each in found):
            raise Unsupported(f"the virtual functions of {physical} are not on its bus")
        yield found


@contextlib.contextmanager
def bound(function: PciFunction, iommufd: Iommufd) -> Iterator[tuple[Cdev, int]]:
    """The function, bound to the iommufd by its token, and its id there."""
    with Cdev(function.path) as cdev:
        yield cdev, cdev.bind_iommufd(iommufd, TOKEN)


def works(device: Device, function: PciFunction) -> None:
    """It was not reset: it is a master of the bus as it was, and shows who it is."""
    assert device.config().get(COMMAND, 2) & COMMAND_MASTER
    assert device.config().get(VENDOR, 2) == function.vendor


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@pytest.mark.parametrize("whose", ["ours", "another's", "nobody's"])
def test_the_physical_function_does_not_own_a_bus_with_virtual_ones(physical, beside, whose):
    """Whoever has one of them, with this iommufd or another; and without them it owns its bus."""
    with Iommufd() as iommufd, Iommufd() as foreign, bound(physical, iommufd) as (device, devid):
        with contextlib.ExitStack() as stack:
            held = None
            if whose != "nobody's":
                owner = iommufd if whose == "ours" else foreign
                held, _ = stack.enter_context(bound(beside[0], owner))
                held.config().enable_master()
            for _ in range(2):
                info = hot_reset_info(device)
                assert info.flags & (DEV_ID | OWNED) == DEV_ID
                assert info.owners == {
                    physical.address: devid,
                    **{each.address: NOT_OWNED for each in beside},
                }
                assert hot_reset_errno(device) == errno.EINVAL
            if held:
                works(held, beside[0])
        sriov.disabling(physical).must_return(10.0)
        info = hot_reset_info(device)
        assert info.flags & (DEV_ID | OWNED) == DEV_ID | OWNED
        # No reset: the link of QEMU's port is not active after one when ACPI looks after its slot.
        assert info.owners == {physical.address: devid}


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_a_virtual_function_does_not_own_the_bus_that_it_is_on(physical, beside):
    """Not even when its iommufd has each function that is there; nor does the physical one then."""
    with Iommufd() as iommufd, contextlib.ExitStack() as stack:
        every = {each: stack.enter_context(bound(each, iommufd)) for each in (physical, *beside)}
        for device, _ in every.values():
            device.config().enable_master()
        for function in beside:
            device, devid = every[function]
            info = hot_reset_info(device)
            assert info.flags & (DEV_ID | OWNED) == DEV_ID
            others = [each.address for each in every if each is not function]
            assert info.owners == {function.address: devid, **dict.fromkeys(others, NOT_OWNED)}
            assert hot_reset_errno(device) == errno.EINVAL
        for function, (device, _) in every.items():
            works(device, function)


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_the_groups_of_all_functions_do_not_let_a_bus_with_virtual_ones_be_reset(physical, beside):
    """All are told, each with its group, and all groups are the user's; it is refused even so."""
    with Container() as container, contextlib.ExitStack() as stack:
        groups = {}
        for function in (physical, *beside):
            groups[function] = stack.enter_context(Group(function.iommu_group))
            groups[function].set_container(container)
        container.set_iommu(lib.VFIO_TYPE1v2_IOMMU)
        devices = {
            each: stack.enter_context(group.device(each.address, TOKEN))
            for each, group in groups.items()
        }
        told = {each.address: each.iommu_group for each in groups}
        assert len(set(told.values())) == len(told), "the functions share a group"
        for device in devices.values():
            device.config().enable_master()
        for device in devices.values():
            info = hot_reset_info(device)
            assert not info.flags & DEV_ID
            assert info.owners == told
            assert hot_reset_errno(device, list(groups.values())) == errno.EINVAL
        for function, device in devices.items():
            works(device, function)
