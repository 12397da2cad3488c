"""This file checks that what is read and written of a sample device is what was meant (P8).

Its memory is the same through read(2), write(2) and a mapping; config space has its size, and the
registers in it take parts of them.
"""

import os

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.uapi import lib
from vfio_hw.vfio.config import BARS
from vfio_hw.vfio.dma import PAGE
from vfio_hw.vfio.opened import opened

MODE = "vfio_type1v2_iommu"
BAR0 = lib.VFIO_PCI_BAR0_REGION_INDEX
CONFIG = lib.VFIO_PCI_CONFIG_REGION_INDEX
WORD = 4
ADDRESS = 0xE4000000


@pytest.fixture(params=["mtty", "mdpy", "mbochs"])
def sample(request: pytest.FixtureRequest) -> Target:
    """Each sample device that has a config space of its own."""
    handle = request.getfixturevalue(request.param)
    return Target(request.param, handle.uuid, handle.path, handle)


def places(size: int) -> tuple[int, ...]:
    """The first word of a memory, one in its first page, others, and the last one."""
    return 0, WORD, PAGE, size // 2 + 5 * WORD, size - PAGE, size - WORD


@pytest.mark.promise("P8")
@pytest.mark.parametrize("way", ["read", "write"])
def test_the_memory_is_the_same_in_a_mapping_and_by_offset(display: Target, way):
    with opened(display.path, MODE) as user, user.device.region(BAR0).mmapped() as window:
        memory = user.device.region(BAR0)
        for number, place in enumerate(places(memory.size), 1):
            word = bytes([number]) * WORD
            if way == "read":
                window[place : place + WORD] = word
                assert memory.read(place, WORD) == word, f"{place:#x}"
            else:
                memory.write(place, word)
                assert window[place : place + WORD] == word, f"{place:#x}"


@pytest.mark.promise("P8")
def test_one_call_reads_and_writes_many_words_of_the_memory(display: Target):
    """And bytes before the first whole word and after the last one."""
    whole = bytes(range(1, 12))
    with opened(display.path, MODE) as user, user.device.region(BAR0).mmapped() as window:
        memory, before = user.device.region(BAR0), window[:16]
        memory.write(1, whole)
        assert window[:16] == before[:1] + whole + before[1 + len(whole) :]
        assert memory.read(1, len(whole)) == whole


@pytest.mark.promise("P8")
def test_a_register_of_a_bar_keeps_its_address_when_a_part_is_written_as_it_is(sample: Target):
    """Each byte of config space is written by itself: PCI Local Bus 3.0, 3.2.2.3."""
    with opened(sample.path, MODE) as user:
        space = user.device.config()
        space.put(BARS, 4, ADDRESS)
        there = space.get(BARS, 4)
        for width in (1, 2):
            # What a word before it has left, no part of this one may take up.
            space.put(0, 4, 0x55555555)
            space.put(BARS, width, space.get(BARS, width))
            assert space.get(BARS, 4) == there, f"after {width} bytes"


@pytest.mark.promise("P8")
def test_of_config_space_no_more_is_read_than_it_has(sample: Target):
    """A read that begins inside and would end outside is short, or refused."""
    with opened(sample.path, MODE) as user:
        space = user.device.region(CONFIG)
        for width in (4, 2, 1):
            place = (space.size - 1) // width * width
            try:
                got = os.pread(user.device.fileno(), width, space.offset + place)
            except OSError:
                continue
            assert place + len(got) <= space.size, f"{len(got)} bytes at {place:#x}"
