"""This file checks the region that tells a display of its monitor (P8).

Source: linux/vfio.h, ``struct vfio_region_gfx_edid``. What was told is read back from the registers
where a driver in the machine would find it.
"""

import pytest

from vfio_hw.devices.mbochs import SHOWN_EDID
from vfio_hw.uapi import ffi, lib
from vfio_hw.vfio.descriptor import errno_of
from vfio_hw.vfio.gfx import Edid, edid_of
from vfio_hw.vfio.opened import opened

MODE = "vfio_type1v2_iommu"
BAR2 = lib.VFIO_PCI_BAR2_REGION_INDEX
UP, DOWN = lib.VFIO_DEVICE_GFX_LINK_STATE_UP, lib.VFIO_DEVICE_GFX_LINK_STATE_DOWN
READ_ONLY = ("edid_offset", "edid_max_size", "max_xres", "max_yres")
PATTERN = bytes(range(256))


@pytest.fixture
def device(mbochs):
    """An open display."""
    with opened(mbochs.path, MODE) as user:
        yield user.device


@pytest.fixture
def edid(device) -> Edid:
    """That it has one, fixtures/devices promises."""
    found = edid_of(device)
    assert found, f"{device.name} has no EDID region any more"
    return found


@pytest.mark.promise("P8")
def test_one_region_behind_those_of_pci_is_the_edid(device, edid):
    """Its capability says so; no other region has the same."""
    kinds = [device.region(index).kind for index in range(device.info().num_regions)]
    assert kinds.count(edid.region.kind) == 1
    assert edid.region.index >= lib.VFIO_PCI_NUM_REGIONS
    assert edid.region.flags & lib.VFIO_REGION_INFO_FLAG_CAPS
    assert edid.region.readable
    assert edid.region.writable


@pytest.mark.promise("P8")
def test_the_blob_lies_in_the_region_behind_the_members(edid):
    offset, most = edid.get("edid_offset"), edid.get("edid_max_size")
    assert offset >= ffi.sizeof("struct vfio_region_gfx_edid")
    assert most >= 128, "one block of an EDID has 128 bytes"
    assert offset + most <= edid.region.size


@pytest.mark.promise("P8")
def test_link_state_and_size_are_written_and_nothing_else_is(edid):
    """A member that is read only keeps its value, whether the write is refused or not."""
    before = {member: edid.get(member) for member in READ_ONLY}
    for state, size in ((DOWN, 128), (UP, 256), (DOWN, 0), (UP, before["edid_max_size"])):
        edid.put("link_state", state)
        edid.put("edid_size", size)
        assert (edid.get("link_state"), edid.get("edid_size")) == (state, size)
        for member in READ_ONLY:
            errno_of(edid.put)(member, before[member] + 1)
        assert {member: edid.get(member) for member in READ_ONLY} == before
        assert (edid.get("link_state"), edid.get("edid_size")) == (state, size)


@pytest.mark.promise("P8")
def test_the_blob_keeps_what_is_written_up_to_its_largest_size(edid):
    most = edid.get("edid_max_size")
    whole = (PATTERN * (most // len(PATTERN) + 1))[:most]
    edid.write_blob(whole)
    assert edid.read_blob(most) == whole
    offset = edid.get("edid_offset")
    for at, width in ((0, 1), (1, 1), (2, 2), (4, 4), (most - 4, 4), (most - 2, 2), (most - 1, 1)):
        edid.region.write(offset + at, b"\xee" * width)
        whole = whole[:at] + b"\xee" * width + whole[at + width :]
        assert edid.read_blob(most) == whole


@pytest.mark.promise("P8")
def test_what_is_written_behind_the_blob_changes_nothing(edid):
    """Neither the blob nor the members, whether it is refused or not."""
    offset, most = edid.get("edid_offset"), edid.get("edid_max_size")
    members = ("link_state", "edid_size", *READ_ONLY)
    edid.put("link_state", DOWN)
    edid.write_blob(PATTERN)
    write_errno = errno_of(edid.region.write)
    before = edid.read_blob(most), [edid.get(member) for member in members]
    for at in (*range(offset + most, edid.region.size, 16), edid.region.size - 4):
        write_errno(at, b"\xff" * 4)
    for at in range(ffi.sizeof("struct vfio_region_gfx_edid"), offset, 16):
        write_errno(at, b"\xff" * 4)
    assert (edid.read_blob(most), [edid.get(member) for member in members]) == before


@pytest.mark.promise("P8")
def test_a_driver_sees_as_much_of_the_edid_as_was_told_while_the_link_is_up(device, edid):
    """The update protocol: link down, blob and size, link up."""
    bar = device.region(BAR2)
    for size in (128, 256, 0, 128):
        edid.put("link_state", DOWN)
        edid.write_blob(PATTERN)
        edid.put("edid_size", size)
        assert bar.read(SHOWN_EDID, len(PATTERN)) == bytes(len(PATTERN))
        edid.put("link_state", UP)
        shown = bar.read(SHOWN_EDID, len(PATTERN))
        assert shown == PATTERN[:size] + bytes(len(PATTERN) - size)
