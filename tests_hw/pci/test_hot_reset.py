"""This file checks the reset of a whole bus, which only its owner may do (P8, P7).

The two functions share a group and a conventional bus, so neither can be reset by itself alone.
"""

import contextlib
import errno

import pytest

from vfio_hw.fixtures.argsz import (
    CANARY,
    HOT_RESET,
    HOT_RESET_INFO,
    behind,
    longer,
    shortest,
)
from vfio_hw.host.binding import bound_to
from vfio_hw.uapi import ffi, ioctl_errno, lib, struct
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.config import COMMAND, COMMAND_MASTER
from vfio_hw.vfio.descriptor import errno_of, next_free
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.hot_reset import hot_reset, hot_reset_errno, hot_reset_info
from vfio_hw.vfio.opened import opened

MODES = ["vfio_type1v2_iommu", "iommufd_compat_type1v2"]
BAR0 = lib.VFIO_PCI_BAR0_REGION_INDEX
DEV_ID = lib.VFIO_PCI_HOT_RESET_FLAG_DEV_ID
OWNED = lib.VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", MODES)
def test_every_function_on_the_bus_is_told_with_its_group(bus, mode):
    with opened(bus[0].path, mode) as user:
        info = hot_reset_info(user.device)
        assert not info.flags & DEV_ID
        assert info.owners == {each.address: each.iommu_group for each in bus}


@pytest.mark.promise("P8")
def test_without_room_for_all_functions_only_their_number_is_told(bus):
    """ENOSPC, and none of them is told."""
    with opened(bus[0].path, MODES[0]) as user:
        for room in range(len(bus)):
            info = struct("vfio_pci_hot_reset_info", devices=room)
            request = "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO"
            assert ioctl_errno(user.device.fileno(), request, info)[1] == errno.ENOSPC
            assert info.count == len(bus)
            assert not any(bytes(ffi.buffer(info))[ffi.sizeof("struct vfio_pci_hot_reset_info") :])


@pytest.mark.promise("P8")
def test_requests_of_a_hot_reset_mind_their_argsz(bus):
    """Shorter than all members is refused, and more behind the functions, or groups, is not."""
    with opened(bus[0].path, MODES[0]) as user:
        fd, room = user.device.fileno(), len(bus)
        for argsz in (0, shortest(*HOT_RESET_INFO[1:]) - 1):
            info = struct(HOT_RESET_INFO[1], argsz=argsz, devices=room)
            assert ioctl_errno(fd, HOT_RESET_INFO[0], info)[1] == errno.EINVAL
            assert info.count == 0
        for argsz in (0, shortest(*HOT_RESET[1:]) - 1):
            reset = struct(HOT_RESET[1], argsz=argsz, count=1, group_fds=[user.group.fileno()])
            assert ioctl_errno(fd, HOT_RESET[0], reset)[1] == errno.EINVAL
        reset = struct(HOT_RESET[1], count=2**32 - 1, group_fds=[user.group.fileno()])
        assert ioctl_errno(fd, HOT_RESET[0], reset)[1] == errno.EINVAL
        for tail in (0, CANARY):
            info, data = longer(HOT_RESET_INFO[1], tail, devices=room)
            assert ioctl_errno(fd, HOT_RESET_INFO[0], info)[1] == 0
            assert info.count == room
            assert set(behind(data)) == {tail}
            groups = [user.group.fileno()]
            reset, data = longer(HOT_RESET[1], tail, count=1, group_fds=groups)
            assert ioctl_errno(fd, HOT_RESET[0], reset)[1] == 0
            assert set(behind(data)) == {tail}


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_groups_behind_argsz_are_refused_or_taken_as_they_are(bus):
    """The bus is reset for its owner only, nothing is held, and both functions are as they were.

    Source: linux/vfio.h, "the caller's responsibility to indicate the size of the structure", which
    does not say what becomes of a caller who does not: vfio_pci_ioctl_pci_hot_reset().
    """
    one, other, *_ = bus
    with opened(one.path, MODES[0]) as user, user.group.device(other.address) as second:
        group, spaces = user.group.fileno(), [user.device.config(), second.config()]
        for space in spaces:
            space.enable_master()
        seen = [space.region.read(0, 64) for space in spaces]
        free = next_free(user.device)
        for groups in ([group], [-1], [group, group], [group, -1]):
            legal = (errno.EBADF if -1 in groups else 0, errno.EINVAL)
            reset = struct(HOT_RESET[1], count=len(groups), group_fds=groups)
            whole = reset.argsz
            for argsz in range(shortest(*HOT_RESET[1:]), whole):
                reset.argsz = argsz
                answer = ioctl_errno(user.device.fileno(), HOT_RESET[0], reset)[1]
                assert answer in legal, f"{argsz} of {whole} bytes"
                assert [space.region.read(0, 64) for space in spaces] == seen
        assert next_free(user.device) == free
        assert hot_reset_errno(user.device, [user.group]) == 0
    assert errno_of(Group)(one.iommu_group) == 0


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", MODES)
def test_the_owner_of_all_groups_resets_the_bus(bus, mode):
    """What was configured is there again, for each function that is open; the groups go free."""
    one, other, *_ = bus
    with opened(one.path, mode) as user, user.group.device(other.address) as second:
        spaces = [user.device.config(), second.config()]
        for space in spaces:
            space.enable_master()
        seen = [space.region.read(0, 64) for space in spaces]
        for _ in range(2):
            assert hot_reset_errno(user.device, [user.group]) == 0
            assert [space.region.read(0, 64) for space in spaces] == seen
            assert all(space.get(COMMAND, 2) & COMMAND_MASTER for space in spaces)
        assert second.region(BAR0).get(0, 4) & 0xFFFF == 0x00ED
    assert errno_of(Group)(one.iommu_group) == 0


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@pytest.mark.parametrize("mode", MODES)
def test_nobody_else_resets_the_bus_and_a_refusal_holds_no_file(bus, mtty, mode):
    one = bus[0]
    with opened(one.path, mode) as user, Group(mtty.iommu_group) as foreign:
        container = user.container
        for _ in range(2):
            for groups, refusal in (
                ([], errno.EINVAL),
                ([foreign], errno.EINVAL),
                ([container], errno.EINVAL),
                ([user.device], errno.EINVAL),
                ([user.group, container], errno.EINVAL),
                ([user.group, -1], errno.EBADF),
                ([-1], errno.EBADF),
                ([user.group] * (len(bus) + 1), errno.EINVAL),
            ):
                assert hot_reset_errno(user.device, groups) == refusal, groups
            assert hot_reset_errno(user.device, [user.group], 1) == errno.EINVAL
        assert hot_reset_errno(user.device, [user.group, foreign]) == 0
        foreign.close()
        assert errno_of(Group)(mtty.iommu_group) == 0
    assert errno_of(Group)(one.iommu_group) == 0


@pytest.mark.promise("P8")
def test_a_function_that_is_not_vfios_keeps_the_bus_from_being_reset(
    on_the_bus, two_free_of_a_group
):
    """One is enough, though no other driver has it either, and it is in the user's own group."""
    one, foreign, *others = on_the_bus
    with contextlib.ExitStack() as stack:
        for function in (one, *others):
            stack.enter_context(bound_to(function))
        user = stack.enter_context(opened(one.path, MODES[0]))
        assert foreign.driver is None
        assert hot_reset_errno(user.device, [user.group]) == errno.EINVAL
        with bound_to(foreign):
            assert hot_reset_errno(user.device, [user.group]) == 0
        assert hot_reset_errno(user.device, [user.group]) == errno.EINVAL


@pytest.mark.promise("P8")
def test_an_iommufd_resets_the_bus_whose_functions_it_owns(bus):
    """A bound device is told by its id, another one of the same group as owned."""
    one, other, *_ = bus
    with opened(one.path, "iommufd") as user:
        info = hot_reset_info(user.device)
        assert info.flags & (DEV_ID | OWNED) == DEV_ID | OWNED
        assert info.owners[other.address] == lib.VFIO_PCI_DEVID_OWNED
        assert set(info.owners) == {each.address for each in bus}
        with Cdev(other.path) as second:
            devid = second.bind_iommufd(user.iommufd)
            owners = hot_reset_info(user.device).owners
            assert owners[other.address] == devid
            assert owners[one.address] == info.owners[one.address] not in (0, devid)
            hot_reset(user.device)
            hot_reset(second)
            assert hot_reset_errno(second, [user.device]) == errno.EINVAL
            assert second.region(BAR0).get(0, 4) & 0xFFFF == 0x00ED
        assert hot_reset_info(user.device).owners == info.owners
