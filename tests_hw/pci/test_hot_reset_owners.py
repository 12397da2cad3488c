"""This file checks who is told that he does not own a bus, and is then not let reset it (P8, P7).

A device that was opened through its character device answers with ids in its iommufd, and is reset
with no group; one from a group the other way round. Source: linux/vfio.h,
VFIO_DEVICE_GET_PCI_HOT_RESET_INFO and VFIO_DEVICE_PCI_HOT_RESET.
"""

import contextlib
import errno
from collections.abc import Iterator

import pytest

from vfio_hw.errors import Unsupported
from vfio_hw.fixtures import Target
from vfio_hw.host.binding import bound_to
from vfio_hw.host.mdev import Mdev
from vfio_hw.host.pci import PciFunction
from vfio_hw.uapi import lib
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.hot_reset import NOT_OWNED, hot_reset_errno, hot_reset_info, hot_reset_info_errno
from vfio_hw.vfio.opened import Opened, opened

MODES = ["vfio_type1v2_iommu", "iommufd_compat_type1v2", "iommufd"]
BAR0 = lib.VFIO_PCI_BAR0_REGION_INDEX
DEV_ID = lib.VFIO_PCI_HOT_RESET_FLAG_DEV_ID
OWNED = lib.VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED
HEADER = 64
# Of e1000e, TDBAL: 4 bytes that QEMU's keeps as they were written, and has as 0 after a reset.
SCRATCH, WRITTEN = 0x3800, 0x12345670


@contextlib.contextmanager
def witness(on_the_bus: list[PciFunction], user: Opened) -> Iterator[Device]:
    """The user's e1000e on the bus: SCRATCH of its BAR tells whether the bus was reset.

    :raises Unsupported: none is there; QEMU's edu forgets nothing when it is reset.
    """
    for function in on_the_bus:
        if function.kind == "e1000e":
            with Cdev(function.path) as cdev:
                cdev.bind_iommufd(user.iommufd)
                yield cdev
            return
    raise Unsupported("no e1000e is on the bus: nothing there shows that it was reset")


def not_owned(device: Device) -> set[str]:
    """Which functions the iommufd does not own; there are some where the flag is not set."""
    info = hot_reset_info(device)
    foreign = {address for address, devid in info.owners.items() if devid == NOT_OWNED}
    assert info.flags & (DEV_ID | OWNED) == (DEV_ID if foreign else DEV_ID | OWNED)
    return foreign


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_a_function_that_is_not_vfios_is_not_owned_and_keeps_an_iommufd_from_the_bus(
    on_the_bus, two_free_of_a_group
):
    """No driver has it, and it is in the group of the device that asks: it is not owned even so.

    As soon as it is VFIO's it is owned, opened or not, and the bus is reset.
    """
    one, foreign, *others = on_the_bus
    with contextlib.ExitStack() as stack:
        for function in (one, *others):
            stack.enter_context(bound_to(function))
        user = stack.enter_context(opened(one.path, "iommufd"))
        nic = stack.enter_context(witness(others, user)).region(BAR0)
        for _ in range(2):
            nic.put(SCRATCH, 4, WRITTEN)
            assert foreign.driver is None
            for _ in range(2):
                assert not_owned(user.device) == {foreign.address}
                assert hot_reset_errno(user.device) == errno.EINVAL
                assert nic.get(SCRATCH, 4) == WRITTEN, "the bus was reset"
            with bound_to(foreign):
                assert not_owned(user.device) == set()
                assert hot_reset_errno(user.device) == 0
                assert nic.get(SCRATCH, 4) == 0, "the bus was not reset"


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_a_character_device_is_reset_with_no_group(bus, mtty):
    """EINVAL, whatever the descriptor is: it is not looked at."""
    with (
        opened(bus[0].path, "iommufd") as user,
        Group(mtty.iommu_group) as group,
        witness(bus, user) as nic,
    ):
        nic.region(BAR0).put(SCRATCH, 4, WRITTEN)
        told = hot_reset_info(user.device)
        for descriptors in ([group], [user.iommufd], [-1], [group] * (len(bus) + 1)):
            assert hot_reset_errno(user.device, descriptors) == errno.EINVAL, descriptors
        assert hot_reset_errno(user.device, flags=1) == errno.EINVAL
        assert nic.region(BAR0).get(SCRATCH, 4) == WRITTEN, "the bus was reset"
        assert hot_reset_info(user.device) == told
        assert hot_reset_errno(user.device) == 0
        assert nic.region(BAR0).get(SCRATCH, 4) == 0, "the bus was not reset"


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@pytest.mark.parametrize("mode", MODES)
def test_what_has_no_bus_of_its_own_is_not_reset_with_one(every_kind: Target, mode):
    """ENODEV on a root bus. What is no PCI function does not know the requests: ENOTTY.

    The descriptors are right, so that nothing but the bus is in the way.
    """
    mdev = isinstance(every_kind.handle, Mdev)
    if not mdev and not every_kind.path.resolve().parent.name.startswith("pci"):
        raise Unsupported(f"{every_kind.name} is on a bus of its own, which may be reset")
    expected = errno.ENOTTY if mdev else errno.ENODEV
    with opened(every_kind.path, mode) as user:
        groups = [user.group] if user.group else []
        config = user.device.config().region
        seen = config.read(0, HEADER)
        for _ in range(2):
            assert hot_reset_info_errno(user.device) == expected
            assert hot_reset_errno(user.device, groups) == expected
        assert config.read(0, HEADER) == seen
        assert user.device.info_errno() == 0
