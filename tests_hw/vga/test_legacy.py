"""This file checks the region of the legacy addresses of a graphics function (P8)."""

import errno
import os

import pytest

from vfio_hw.devices.vga import MAP_MASK, MEMORY, PORTS, VGA, Graphics
from vfio_hw.uapi import lib
from vfio_hw.vfio.descriptor import errno_of


@pytest.mark.promise("P8")
def test_the_region_is_read_and_written_and_not_mapped(graphics: Graphics):
    region = graphics.legacy
    assert (region.index, region.size) == (VGA, MEMORY[1])
    assert region.flags == lib.VFIO_REGION_INFO_FLAG_READ | lib.VFIO_REGION_INFO_FLAG_WRITE
    assert region.capabilities == {}
    with pytest.raises(OSError, match="Invalid argument") as refused, region.mmapped(0, 4096):
        pass
    assert refused.value.errno == errno.EINVAL


@pytest.mark.promise("P8")
@pytest.mark.parametrize("value", [0x05, 0x0A])
def test_a_port_is_the_register_of_the_function(graphics: Graphics, value: int):
    graphics.put_by_port(MAP_MASK, value)
    assert graphics.in_bar(MAP_MASK) == value
    graphics.put_in_bar(MAP_MASK, value ^ 0x0F)
    assert graphics.by_port(MAP_MASK) == value ^ 0x0F


@pytest.mark.promise("P8")
@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 8, 64])
@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_memory_is_that_of_the_function(graphics: Graphics, at: int, length: int):
    graphics.show_memory()
    first, second = (bytes((start + i) % 256 for i in range(length)) for start in (7, 101))
    graphics.legacy.write(MEMORY[0] + at, first)
    assert graphics.memory.read(at, length) == first
    graphics.memory.write(at, second)
    assert graphics.legacy.read(MEMORY[0] + at, length) == second


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    "at",
    [
        0,
        *(edge for first, end in PORTS for edge in (first - 1, end)),
        MEMORY[0] - 1,
        MEMORY[1],
        MEMORY[1] + 0x1000,
    ],
    ids=hex,
)
def test_between_the_legacy_addresses_is_nothing(graphics: Graphics, at: int):
    assert errno_of(graphics.legacy.read)(at, 1) == errno.EINVAL
    assert errno_of(graphics.legacy.write)(at, b"\0") == errno.EINVAL


@pytest.mark.promise("P8")
@pytest.mark.parametrize("end", [MEMORY[1], *(end for _, end in PORTS)], ids=hex)
def test_an_access_ends_where_its_addresses_do(graphics: Graphics, end: int):
    at = graphics.legacy.offset + end - 3
    assert len(os.pread(graphics.device.fileno(), 16, at)) == 3
    assert os.pwrite(graphics.device.fileno(), bytes(16), at) == 3


@pytest.mark.promise("P8")
@pytest.mark.parametrize("last", [0, 1])
def test_each_has_the_legacy_addresses_when_it_is_accessed(both: list[Graphics], last: int):
    """Two functions decode the same addresses: the kernel lets them have these in turn."""
    order = [both[1 - last], both[last], both[1 - last], both[last]]
    for value, graphics in zip((0x1, 0x2, 0x4, 0x8), order, strict=True):
        graphics.put_by_port(MAP_MASK, value)
    assert both[1 - last].in_bar(MAP_MASK) == 0x4
    assert both[last].in_bar(MAP_MASK) == 0x8
    assert [each.by_port(MAP_MASK) for each in order] == [0x4, 0x8, 0x4, 0x8]
