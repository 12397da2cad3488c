"""This file checks that a bus is not reset by whoever has not all virtual functions on it (P8, P7).

A virtual function goes with its physical one when that is reset, and may be another user's: with a
token of its own in another iommufd, on the same bus. Source: linux/vfio.h,
VFIO_DEVICE_GET_PCI_HOT_RESET_INFO and VFIO_DEVICE_PCI_HOT_RESET.
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
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.hot_reset import NOT_OWNED, hot_reset_errno, hot_reset_info
from vfio_hw.vfio.iommufd import Iommufd

pytestmark = pytest.mark.machine("sr-iov")

TOKEN = UUID(int=0x9ABC << 64)
BAR0 = lib.VFIO_PCI_BAR0_REGION_INDEX
DEV_ID = lib.VFIO_PCI_HOT_RESET_FLAG_DEV_ID
OWNED = lib.VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED
# Of nvme, 4 bytes that a reset clears: CC (NVM Express base specification 1.4, 3.1.5). Sizes of
# entries are put there, and it stays disabled.
SCRATCH, WRITTEN = 0x14, 6 << 16 | 4 << 20


def marked(device: Device) -> None:
    """Write what a reset of the physical function clears."""
    device.region(BAR0).put(SCRATCH, 4, WRITTEN)


def scratch(device: Device) -> int:
    """WRITTEN, or 0 after a reset."""
    return device.region(BAR0).get(SCRATCH, 4)


@pytest.fixture
def beside(physical: PciFunction) -> Iterator[list[PciFunction]]:
    """Two virtual functions on the bus of the physical one, whose token is TOKEN.

    :raises Unsupported: they are on another bus, or nothing shows a reset of it: it is no nvme.
    """
    if physical.kind != "nvme":
        raise Unsupported(f"{physical} is no nvme: nothing is known of it that shows a reset")
    with through_cdev(physical, TOKEN) as device:
        marked(device)
        assert scratch(device) == WRITTEN
        device.reset()
        assert scratch(device) == 0, "a reset is not seen"
    with sriov.enabled(physical, 2) as found:
        bus = physical.address.rpartition(":")[0]
        if any(each.address.rpartition(":")[0] != bus for each in found):
            raise Unsupported(f"the virtual functions of {physical} are not on its bus")
        groups = {each.iommu_group for each in (physical, *found)}
        assert len(groups) == 1 + len(found), "the functions share a group"
        yield found


@contextlib.contextmanager
def bound(function: PciFunction, iommufd: Iommufd) -> Iterator[tuple[Cdev, int]]:
    """The function, bound to the iommufd by its token, and its id there."""
    with Cdev(function.path) as cdev:
        yield cdev, cdev.bind_iommufd(iommufd, TOKEN)


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@pytest.mark.parametrize("whose", ["another's", "nobody's"])
def test_the_physical_function_does_not_own_a_bus_with_virtual_ones_of_others(
    physical, beside, whose
):
    """Another iommufd has one of them, or nobody has any; without them it owns its bus."""
    with Iommufd() as iommufd, Iommufd() as foreign, bound(physical, iommufd) as (device, devid):
        with contextlib.ExitStack() as stack:
            if whose == "another's":
                stack.enter_context(bound(beside[0], foreign))
            marked(device)
            for _ in range(2):
                info = hot_reset_info(device)
                assert info.flags & (DEV_ID | OWNED) == DEV_ID
                assert info.owners == {
                    physical.address: devid,
                    **{each.address: NOT_OWNED for each in beside},
                }
                assert hot_reset_errno(device) == errno.EINVAL
                assert scratch(device) == WRITTEN, "the bus was reset"
        sriov.disabling(physical).must_return(10.0)
        info = hot_reset_info(device)
        assert info.flags & (DEV_ID | OWNED) == DEV_ID | OWNED
        # No reset: the link of QEMU's port is not active after one when ACPI looks after its slot.
        assert info.owners == {physical.address: devid}


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_a_virtual_function_does_not_own_the_bus_of_others_that_it_is_on(physical, beside):
    """The physical one is another iommufd's, the other virtual one is nobody's."""
    ours, other = beside
    with (
        Iommufd() as iommufd,
        Iommufd() as foreign,
        bound(physical, foreign) as (witness, _),
        bound(ours, iommufd) as (device, _),
    ):
        marked(witness)
        for _ in range(2):
            info = hot_reset_info(device)
            assert info.flags & (DEV_ID | OWNED) == DEV_ID
            assert set(info.owners) == {each.address for each in (physical, *beside)}
            assert info.owners[physical.address] == NOT_OWNED
            assert info.owners[other.address] == NOT_OWNED
            assert hot_reset_errno(device) == errno.EINVAL
            assert scratch(witness) == WRITTEN, "the bus was reset"


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_a_bus_is_not_reset_without_the_group_of_each_function_on_it(physical, beside):
    """All are told, each with its group, whichever is asked; the group of one is not shown."""
    functions = (physical, *beside)
    with Container() as container, contextlib.ExitStack() as stack:
        groups = {}
        for function in functions:
            groups[function] = stack.enter_context(Group(function.iommu_group))
            groups[function].set_container(container)
        container.set_iommu(lib.VFIO_TYPE1v2_IOMMU)
        devices = {
            each: stack.enter_context(group.device(each.address, TOKEN))
            for each, group in groups.items()
        }
        marked(devices[physical])
        for device in devices.values():
            info = hot_reset_info(device)
            assert not info.flags & DEV_ID
            assert info.owners == {each.address: each.iommu_group for each in functions}
            for missing in functions:
                shown = [group for each, group in groups.items() if each is not missing]
                assert hot_reset_errno(device, shown) == errno.EINVAL
                assert scratch(devices[physical]) == WRITTEN, "the bus was reset"
