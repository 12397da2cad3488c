"""This file checks the argsz of an info request that has capabilities to tell (P8).

Source: linux/vfio.h, "Callers of INFO ioctls passing insufficiently sized buffers".
"""

import pytest

from vfio_hw.fixtures.argsz import CANARY, REGION_INFO, TYPE1_INFO, shortest
from vfio_hw.host.pci import PciFunction
from vfio_hw.uapi import ffi, ioctl_errno, lib, struct
from vfio_hw.vfio.config import CAPABILITY_MSIX
from vfio_hw.vfio.descriptor import Descriptor
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.opened import opened

MODES = ["vfio_type1v2_iommu", "iommufd_compat_type1v2"]
BEHIND = 64


def bar_of_the_table(device: Device) -> int:
    """The index of the BAR that holds the MSI-X table."""
    space = device.config()
    return space.get(space.capability(CAPABILITY_MSIX) + 4, 4) & 7


def assert_capabilities_come_whole_or_not_at_all(
    descriptor: Descriptor, request: str, name: str, member: str, caps: int, index: int = 0
) -> None:
    """With each argsz from the shortest on: told how many it takes; nothing is written behind it.

    :param caps: the flag that says that there are some.
    """
    least, bare = shortest(name, member), ffi.sizeof(f"struct {name}")

    def answer(argsz: int) -> bytes:
        size = bare + argsz + BEHIND
        page = ffi.new(f"uint8_t[{size}]", bytes(bare) + bytes([CANARY]) * (size - bare))
        head = ffi.cast(f"struct {name} *", page)
        head.argsz = argsz
        if request == REGION_INFO[0]:
            head.index = index
        if argsz < bare:
            ffi.memmove(page + argsz, bytes([CANARY]) * (bare - argsz), bare - argsz)
        assert ioctl_errno(descriptor.fileno(), request, page) == (0, 0), f"{argsz} bytes"
        data = bytes(page)
        assert set(data[argsz:]) == {CANARY}, f"{argsz} bytes, and some were written behind them"
        return data

    def head_of(data: bytes):
        return ffi.from_buffer(f"struct {name} *", data)

    offset, width = ffi.offsetof(f"struct {name}", "cap_offset"), ffi.sizeof("uint32_t")
    whole = head_of(answer(least)).argsz
    assert whole > bare
    for argsz in range(least, whole):
        data = answer(argsz)
        assert head_of(data).flags & caps, f"{argsz} bytes"
        assert head_of(data).argsz == whole, f"{argsz} bytes"
        if offset + width <= argsz:
            assert head_of(data).cap_offset == 0, f"{argsz} bytes"
    for argsz in (whole, whole + BEHIND):
        data = answer(argsz)
        assert head_of(data).flags & caps
        assert bare <= head_of(data).cap_offset < whole
        assert set(data[whole:]) == {CANARY}


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["e1000e", "nvme"])
def test_capabilities_of_a_region_come_whole_or_not_at_all(request, kind, mode):
    with opened(request.getfixturevalue(kind).path, mode) as user:
        assert_capabilities_come_whole_or_not_at_all(
            user.device,
            *REGION_INFO,
            lib.VFIO_REGION_INFO_FLAG_CAPS,
            bar_of_the_table(user.device),
        )


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", MODES)
def test_capabilities_of_a_container_come_whole_or_not_at_all(edu: PciFunction, mode):
    with opened(edu.path, mode) as user:
        assert_capabilities_come_whole_or_not_at_all(
            user.container, *TYPE1_INFO, lib.VFIO_IOMMU_INFO_CAPS
        )


@pytest.mark.promise("P8")
def test_the_argsz_that_comes_back_makes_room_for_the_capabilities(e1000e):
    """The BAR with the MSI-X table, and no other, says that the table can be mapped."""
    with opened(e1000e.path, MODES[0]) as user:
        table = bar_of_the_table(user.device)
        for index in range(lib.VFIO_PCI_ROM_REGION_INDEX):
            found = user.device.region(index).capabilities
            assert (lib.VFIO_REGION_INFO_CAP_MSIX_MAPPABLE in found) == (index == table)
        bare = struct("vfio_region_info", index=table)
        assert ioctl_errno(user.device.fileno(), REGION_INFO[0], bare) == (0, 0)
        assert bare.flags & lib.VFIO_REGION_INFO_FLAG_CAPS
        assert bare.argsz > ffi.sizeof("struct vfio_region_info")
        assert bare.cap_offset == 0
