"""This file checks config space as a region: accesses of every width, its bounds (P8).

It is compared with the file config in sysfs, which shows the registers themselves. Of those that
VFIO shows otherwise, only what must be the same is compared.
"""

import errno
import random

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.host.pci import shown_config
from vfio_hw.vfio import config
from vfio_hw.vfio.config import Config
from vfio_hw.vfio.descriptor import errno_of
from vfio_hw.vfio.opened import opened

MODE = "vfio_type1v2_iommu"
WIDTHS = (1, 2, 4)
# Offsets and lengths of what says what the function is. Source: linux/pci_regs.h.
IDENTITY = [(0x00, 4), (0x08, 4), (0x0E, 1), (0x2C, 4), (config.CAPABILITIES, 1), (0x3D, 1)]
EXTENDED = 0x100


@pytest.fixture
def space(pci_device: Target) -> Config:
    with opened(pci_device.path, MODE) as user:
        yield user.device.config()


@pytest.fixture
def physical(pci_device: Target) -> bytes:
    """The registers, as sysfs shows them."""
    return shown_config(pci_device.path)


def walked(data: bytes) -> dict[int, int]:
    """Offset and id of each capability in a config space."""
    found, offset = {}, data[config.CAPABILITIES] & ~3
    while offset and offset not in found:
        found[offset] = data[offset]
        offset = data[offset + 1] & ~3
    return found


def walked_extended(data: bytes) -> dict[int, int]:
    """The same of the extended ones: a header has the id, a version, and the next one's offset."""
    found, offset = {}, EXTENDED
    while offset and offset not in found and offset < len(data):
        header = int.from_bytes(data[offset : offset + 4], "little")
        if header & 0xFFFF:
            found[offset] = header & 0xFFFF
        offset = header >> 20 & ~3
    return found


@pytest.mark.promise("P8")
def test_every_width_reads_the_same_bytes(space):
    """From any offset, and over the borders of capabilities."""
    region = space.region
    whole = region.read(0, region.size)
    for width in WIDTHS:
        pieces = (region.read(at, width) for at in range(0, 256, width))
        assert b"".join(pieces) == whole[:256]
    draw = random.Random(len(whole))
    for _ in range(200):
        at, count = draw.randrange(region.size), draw.choice([1, 2, 3, 4, 5, 8, 31])
        count = min(count, region.size - at)
        assert region.read(at, count) == whole[at : at + count], f"{count} at {at:#x}"


@pytest.mark.promise("P8")
def test_config_space_says_the_same_as_sysfs_of_what_the_function_is(space, physical):
    for offset, length in IDENTITY:
        expected = int.from_bytes(physical[offset : offset + length], "little")
        for width in (each for each in WIDTHS if each <= length):
            for at in range(offset, offset + length, width):
                part = int.from_bytes(physical[at : at + width], "little")
                assert space.get(at, width) == part, f"{width} at {at:#x}"
        assert int.from_bytes(space.region.read(offset, length), "little") == expected


@pytest.mark.promise("P8")
def test_capabilities_are_where_they_are_or_are_hidden(space, physical):
    """What is offered is there; those that VFIO hands on, whatever hides others, are all offered.

    Source: linux/pci_regs.h; power management, MSI, PCI Express and MSI-X have 1, 5, 0x10, 0x11.
    """
    data = space.region.read(0, space.region.size)
    shown, there = walked(data), walked(physical)
    assert shown.items() <= there.items()
    handed_on = {0x01, 0x05, 0x10, 0x11}
    assert handed_on & set(there.values()) <= set(shown.values())
    assert shown, "a function under test has a capability"
    assert len(data) == len(physical)
    extended = walked_extended(physical)
    assert walked_extended(data).items() <= extended.items()


@pytest.mark.promise("P8")
def test_bars_show_the_addresses_that_sysfs_lists(pci_device: Target, space):
    lines = (pci_device.path / "resource").read_text().splitlines()
    for number in range(6):
        first, last, flags = (int(word, 16) for word in lines[number].split())
        mask = 3 if flags & 0x100 else 15
        assert space.get(config.BARS + 4 * number, 4) & ~mask == (first if last else 0)


@pytest.mark.promise("P8")
def test_what_says_what_the_function_is_is_not_written(space, physical):
    for offset, length in IDENTITY:
        for width in (each for each in WIDTHS if each <= length):
            before = space.get(offset, width)
            for value in (0, (1 << 8 * width) - 1):
                space.put(offset, width, value)
                assert space.get(offset, width) == before
    assert space.region.read(0, 4) == physical[:4]


@pytest.mark.promise("P8")
def test_a_bar_is_written_in_pieces_and_the_function_does_not_move(pci_device: Target, space):
    """Each width changes its own bytes of what is shown; the register itself keeps its address."""
    before = space.get(config.BARS, 4)
    registers = (pci_device.path / "config").read_bytes()[config.BARS : config.BARS + 4]
    try:
        space.put(config.BARS, 4, 0)
        for width, at, value in ((2, 2, 0xE5A0), (1, 3, 0x12), (4, 0, 0xA5A00000)):
            expected = bytearray(space.region.read(config.BARS, 4))
            expected[at : at + width] = value.to_bytes(width, "little")
            space.put(config.BARS + at, width, value)
            assert space.region.read(config.BARS, 4) == bytes(expected)
            shown = (pci_device.path / "config").read_bytes()[config.BARS : config.BARS + 4]
            assert shown == registers
    finally:
        space.put(config.BARS, 4, before)


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_an_access_that_leaves_config_space_is_refused_whole(space):
    region = space.region
    end = region.size
    for at, count in (
        (end, 1),
        (end, 4),
        (end - 1, 2),
        (end - 4, 8),
        (end + 4096, 4),
        (0, end + 1),
    ):
        assert errno_of(region.read)(at, count) in (errno.EFAULT, errno.EINVAL), f"{at:#x}"
    before = space.get(config.COMMAND, 2)
    for at, count in ((end, 4), (end - 2, 4), (end + 4096, 4)):
        assert errno_of(region.write)(at, bytes(count)) in (errno.EFAULT, errno.EINVAL)
    assert errno_of(region.write)(end, bytes(1)) in (errno.EFAULT, errno.EINVAL)
    assert space.get(config.COMMAND, 2) == before
    assert len(region.read(end - 4, 4)) == 4


@pytest.mark.promise("P8")
def test_config_space_that_vfio_keeps_is_as_before_after_a_close(pci_device: Target):
    """What one user writes to a virtual register, the next does not see."""
    line = 0x3C
    with opened(pci_device.path, MODE) as user:
        space = user.device.config()
        before = space.get(line, 1), space.get(config.BARS, 4)
        space.put(line, 1, before[0] ^ 0xFF)
        space.put(config.BARS, 4, before[1] ^ 0x0F000000)
        assert space.get(line, 1) == before[0] ^ 0xFF
        assert space.get(config.BARS, 4) != before[1]
    with opened(pci_device.path, MODE) as user:
        space = user.device.config()
        assert (space.get(line, 1), space.get(config.BARS, 4)) == before
