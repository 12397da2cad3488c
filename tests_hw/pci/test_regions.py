"""This file checks the bounds of a function's regions, its ROM and its MSI-X table (P8).

What is where, the function's config space says, and sysfs: its files resource, config and rom.
"""

import errno
import mmap
import os

import pytest

from vfio_hw.errors import KernelRefused
from vfio_hw.fixtures import Target
from vfio_hw.host.sysfs import write
from vfio_hw.uapi import lib
from vfio_hw.vfio import config
from vfio_hw.vfio.config import Config
from vfio_hw.vfio.descriptor import errno_of
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.dma import PAGE
from vfio_hw.vfio.opened import opened
from vfio_hw.vfio.region import Region, outside

MODE = "vfio_type1v2_iommu"
BARS = range(lib.VFIO_PCI_BAR0_REGION_INDEX, lib.VFIO_PCI_BAR5_REGION_INDEX + 1)
ROM = lib.VFIO_PCI_ROM_REGION_INDEX
CONFIG = lib.VFIO_PCI_CONFIG_REGION_INDEX
VGA = lib.VFIO_PCI_VGA_REGION_INDEX
# Source: linux/ioport.h; the third column of the file resource.
RESOURCE_MEMORY = 0x200
ENTRY, IN_BAR, ABOVE = 16, 7, ~7
# What the kernel says of a place that is in no region, or in no part of one.
REFUSED = (errno.EINVAL, errno.EFAULT)


@pytest.fixture
def function(pci_device: Target):
    """An open function."""
    with opened(pci_device.path, MODE) as user:
        yield user.device


@pytest.fixture
def opened_e1000e(e1000e):
    with opened(e1000e.path, MODE) as user:
        yield user.device


def resources(target: Target) -> list[tuple[int, int]]:
    """Size in bytes and flags of each PCI resource, as sysfs lists them: BARs, ROM."""
    found = []
    for line in (target.path / "resource").read_text().splitlines()[: ROM + 1]:
        first, last, flags = (int(word, 16) for word in line.split())
        found.append((last - first + 1 if last else 0, flags))
    return found


def regions(device: Device) -> list[Region]:
    """Those that the device has."""
    indices = range(device.info().num_regions)
    return [device.region(index) for index in indices if not device.region_errno(index)]


def mmap_errno(region: Region, size: int, offset: int = 0) -> int:
    try:
        with region.mmapped(offset, size):
            return 0
    except KernelRefused as refused:
        return refused.errno


def msix_table(space: Config) -> tuple[int, int, int]:
    """Index of the BAR, offset and size in bytes. Source: PCI specification 3.0, section 6.8.2."""
    capability = space.capability(config.CAPABILITY_MSIX)
    place = space.get(capability + 4, 4)
    entries = (space.get(capability + 2, 2) & 0x7FF) + 1
    return place & IN_BAR, place & ABOVE, entries * ENTRY


@pytest.mark.promise("P8")
def test_a_bar_is_mapped_when_it_is_memory_of_whole_pages(pci_device: Target, function):
    """Ports are read and written only, and what is not there has neither flags nor memory."""
    for index, (size, flags) in enumerate(resources(pci_device)[: len(BARS)]):
        region = function.region(index)
        memory = bool(flags & RESOURCE_MEMORY)
        assert region.mappable == (memory and size >= PAGE), str(region)
        assert region.readable == region.writable == bool(size)
        if not size:
            assert region.flags == 0
            assert errno_of(region.read)(0, 1) == errno.EINVAL
            assert errno_of(region.write)(0, b"\0") == errno.EINVAL


@pytest.mark.promise("P8")
def test_a_read_at_the_end_of_a_bar_is_cut(function):
    """It never goes on in the next region, however long it is."""
    fd = function.fileno()
    for region in (function.region(index) for index in BARS):
        if not region.size:
            continue
        end = region.offset + region.size
        for length in (8, PAGE, 1 << 20):
            assert len(os.pread(fd, length, end - 4)) == 4, str(region)


@pytest.mark.promise("P8")
def test_what_is_in_no_region_is_not_reached(function):
    """Neither right behind a region, nor right before one, nor far from all."""
    fd, places = function.fileno(), outside(regions(function), 4)
    assert places
    for place in places:
        with pytest.raises(OSError) as refused:
            os.pread(fd, 4, place)
        assert refused.value.errno in REFUSED, f"{place:#x}"
        with pytest.raises(OSError) as refused:
            os.pwrite(fd, bytes(4), place)
        assert refused.value.errno in REFUSED, f"{place:#x}"
    assert os.pread(fd, 0, function.region(CONFIG).offset) == b""


@pytest.mark.promise("P8")
def test_a_bar_is_mapped_shared_and_inside_its_pages(function):
    nowhere = outside(regions(function), PAGE, align=PAGE)
    assert nowhere
    for region in (function.region(index) for index in BARS):
        if not region.mappable:
            assert mmap_errno(region, PAGE) == errno.EINVAL
            continue
        assert mmap_errno(region, region.size) == 0
        assert mmap_errno(region, PAGE, region.size - PAGE) == 0
        for size, offset in (
            (region.size + PAGE, 0),
            (region.size, PAGE),
            (2 * PAGE, region.size - PAGE),
            *((PAGE, place - region.offset) for place in nowhere),
        ):
            assert mmap_errno(region, size, offset) == errno.EINVAL, f"{region}, {offset:#x}"
        with pytest.raises(OSError) as refused:
            mmap.mmap(function.fileno(), PAGE, mmap.MAP_PRIVATE, offset=region.offset)
        assert refused.value.errno == errno.EINVAL
    for index in (ROM, CONFIG):
        assert mmap_errno(function.region(index), PAGE) == errno.EINVAL


@pytest.mark.promise("P8")
def test_the_rom_is_what_sysfs_reads_and_is_not_written(e1000e):
    """The region is as large as the resource, and behind the image it is all ones."""
    target, rom = Target("e1000e", e1000e.address, e1000e.path, e1000e), e1000e.path / "rom"
    with opened(e1000e.path, MODE) as user:
        region = user.device.region(ROM)
        assert region.size == resources(target)[ROM][0] > 0
        assert region.flags == lib.VFIO_REGION_INFO_FLAG_READ
        write(rom, "1")
        try:
            image = rom.read_bytes()
        finally:
            write(rom, "0")
        shown = region.read(0, region.size)
        assert shown == image + b"\xff" * (region.size - len(image))
        for at, count in ((0, 1), (1, 1), (1, 2), (1, 7), (2, 4), (3, 8), (len(image) - 3, 8)):
            assert region.read(at, count) == shown[at : at + count]
        assert len(os.pread(user.device.fileno(), 64, region.offset + region.size - 1)) == 1
        assert errno_of(region.read)(region.size, 1) == errno.EINVAL
        assert errno_of(region.write)(0, bytes(4)) == errno.EINVAL
        assert region.read(0, 4) == shown[:4]


@pytest.mark.promise("P8")
def test_a_function_without_rom_or_vga_has_no_such_region(edu, e1000e):
    assert not (edu.path / "rom").exists()
    with opened(edu.path, MODE) as user:
        region = user.device.region(ROM)
        assert (region.size, region.flags) == (0, 0)
        assert errno_of(region.read)(0, 4) == errno.EINVAL
    for function in (edu, e1000e):
        # Source: PCI Code and ID Assignment, base class 03h: display controllers.
        assert int((function.path / "class").read_text(), 16) >> 16 != 0x03
        with opened(function.path, MODE) as user:
            refused = user.device.region_errno(VGA)
            assert refused == errno.EINVAL or user.device.region(VGA).size == 0


@pytest.mark.promise("P8")
def test_the_msi_x_table_is_mapped_and_hidden_from_read_and_write(opened_e1000e):
    """Where it is, the capability says: read shows ones there, and write does nothing.

    Source: linux/vfio.h, VFIO_REGION_INFO_CAP_MSIX_MAPPABLE. After a reset every vector is masked,
    which bit 0 of the last word of its entry says.
    """
    index, offset, size = msix_table(opened_e1000e.config())
    bar = opened_e1000e.region(index)
    assert set(bar.capabilities) == {lib.VFIO_REGION_INFO_CAP_MSIX_MAPPABLE}
    with bar.mmapped() as window, memoryview(window).cast("I") as words:
        table = range(offset // 4, (offset + size) // 4)
        before = [words[at] for at in table]
        assert all(word & 1 for word in before[3::4])
        assert 0xFFFFFFFF not in before
        assert bar.read(offset, size) == b"\xff" * size
        for at in (offset, offset + 1, offset + size - 2, offset + size - 1):
            assert bar.read(at, 1) == b"\xff"
        bar.write(offset, bytes(size))
        bar.write(offset, b"\x5a" * size)
        bar.write(offset + size - 1, b"\0")
        assert [words[at] for at in table] == before
        around = bar.read(offset, size + ENTRY)
        assert around[:size] == b"\xff" * size
        assert around[size:] == bar.read(offset + size, ENTRY)
        behind = (offset + size) // 4
        assert around[size : size + 4] == words[behind].to_bytes(4, "little")
