"""This file checks the regions of displays, and their memory when it is mapped (P8, P3).

Sizes are compared with config space and with what the device says of itself in sysfs.
"""

import errno
import itertools
import mmap
import re
from pathlib import Path

import pytest

from vfio_hw.errors import KernelRefused
from vfio_hw.fixtures import Target
from vfio_hw.uapi import ffi, lib
from vfio_hw.vfio import irq
from vfio_hw.vfio.descriptor import errno_of
from vfio_hw.vfio.dma import PAGE
from vfio_hw.vfio.opened import opened

MODE = "vfio_type1v2_iommu"
MODES = [MODE, "iommufd"]
BARS = range(lib.VFIO_PCI_BAR0_REGION_INDEX, lib.VFIO_PCI_BAR5_REGION_INDEX + 1)
BAR0 = lib.VFIO_PCI_BAR0_REGION_INDEX
CONFIG = lib.VFIO_PCI_CONFIG_REGION_INDEX
PIXEL = 4


def mmap_errno(region, size: int, offset: int = 0) -> int:
    try:
        with region.mmapped(offset, size):
            return 0
    except KernelRefused as refused:
        return refused.errno


def resident(window: mmap.mmap) -> int:
    """How much of a mapping this process has touched, in bytes, says /proc/self/smaps."""
    with memoryview(window) as view, ffi.from_buffer(view) as first:
        start = int(ffi.cast("uintptr_t", first))
    text = Path("/proc/self/smaps").read_text()
    entry = re.search(rf"^{start:x}-.*?^Rss: +(\d+) kB", text, re.MULTILINE | re.DOTALL)
    return int(entry[1]) * 1024


@pytest.mark.promise("P8")
def test_a_display_is_a_pci_device_without_interrupts(display: Target):
    """What an mdev shows, its type's device_api says."""
    assert (display.path / "mdev_type" / "device_api").read_text().strip() == "vfio-pci"
    with opened(display.path, MODE) as user:
        info = user.device.info()
        assert info.flags & lib.VFIO_DEVICE_FLAGS_PCI
        assert info.num_irqs == lib.VFIO_PCI_NUM_IRQS
        for index in range(info.num_irqs):
            assert user.device.irq(index).count == 0
            for flags in (irq.NONE | irq.TRIGGER, irq.EVENTFD | irq.TRIGGER):
                assert irq.set_irqs_errno(user.device, index, flags, data=bytes(4)) == errno.EINVAL
        assert user.device.irq_errno(info.num_irqs) == errno.EINVAL
        assert info.num_regions >= lib.VFIO_PCI_NUM_REGIONS
        for index in (info.num_regions, info.num_regions + 1, 2**32 - 1):
            assert user.device.region_errno(index) == errno.EINVAL


@pytest.mark.promise("P8")
def test_the_memory_of_a_display_is_as_large_as_sysfs_says(mdpy, mbochs):
    """A whole picture, in a BAR whose size is a power of two; so many megabytes."""
    text = (mdpy.path / "vendor" / "resolution").read_text()
    width, height = map(int, text.split("x"))
    with opened(mdpy.path, MODE) as user:
        size = user.device.region(BAR0).size
        assert size // 2 < width * height * PIXEL <= size
    megabytes, unit = (mbochs.path / "vendor" / "memory").read_text().split()
    with opened(mbochs.path, MODE) as user:
        assert unit == "MB"
        assert user.device.region(BAR0).size == int(megabytes) << 20


@pytest.mark.promise("P8")
def test_sizing_the_bars_of_a_display_gives_the_sizes_of_its_regions(display: Target):
    with opened(display.path, MODE) as user:
        space = user.device.config()
        sizes = [user.device.region(index).size for index in BARS]
        assert [space.bar_size(number) for number in range(len(BARS))] == sizes
        assert sizes[BAR0]
        assert user.device.region(lib.VFIO_PCI_ROM_REGION_INDEX).size == 0


@pytest.mark.promise("P8")
def test_regions_that_are_there_are_read_and_written_and_do_not_overlap(display: Target):
    with opened(display.path, MODE) as user:
        every = [user.device.region(index) for index in range(user.device.info().num_regions)]
        there = sorted((r for r in every if r.size), key=lambda region: region.offset)
        assert all(region.readable and region.writable for region in there)
        assert not any(region.flags for region in every if not region.size)
        assert {BAR0, CONFIG} <= {region.index for region in there}
        for lower, upper in itertools.pairwise(there):
            assert lower.offset + lower.size <= upper.offset, f"{lower} and {upper}"


@pytest.mark.promise("P8")
def test_of_a_display_only_the_memory_is_mapped_shared_and_within_its_bounds(display: Target):
    """A mapping that begins inside may be refused; if not, it shows what is there."""
    with opened(display.path, MODE) as user:
        memory = user.device.region(BAR0)
        for index in range(user.device.info().num_regions):
            region = user.device.region(index)
            assert region.mappable == (index == BAR0), str(region)
            assert mmap_errno(region, PAGE) == (0 if index == BAR0 else errno.EINVAL)
        assert mmap_errno(memory, memory.size) == 0
        for size, offset in (
            (memory.size + PAGE, 0),
            (2 * memory.size, 0),
            (PAGE, memory.size),
            (2 * PAGE, memory.size - PAGE),
            (PAGE, 1 << 40),
        ):
            assert mmap_errno(memory, size, offset) == errno.EINVAL, f"{size:#x} at {offset:#x}"
        with pytest.raises(OSError) as refused:
            mmap.mmap(user.device.fileno(), PAGE, mmap.MAP_PRIVATE, offset=memory.offset)
        assert refused.value.errno == errno.EINVAL
        if mmap_errno(memory, PAGE, PAGE) == 0:
            with memory.mmapped() as whole, memory.mmapped(PAGE, PAGE) as part:
                whole[PAGE : PAGE + 4] = b"here"
                assert part[:4] == b"here"


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", MODES)
def test_all_mappings_of_a_display_show_the_same_memory(display: Target, mode):
    """Also those made before the other was written to, and through another descriptor's page."""
    with opened(display.path, mode) as user:
        memory = user.device.region(BAR0)
        with memory.mmapped() as one, memory.mmapped() as other:
            places = (0, PAGE - 1, PAGE, memory.size // 2, memory.size - PAGE, memory.size - 1)
            for number, place in enumerate(places, 1):
                one[place] = number
            assert [other[place] for place in places] == list(range(1, len(places) + 1))
            with memory.mmapped() as late:
                assert [late[place] for place in places] == [other[place] for place in places]


@pytest.mark.promise("P8")
def test_mdpy_maps_its_memory_whole_and_mbochs_each_page_when_it_is_touched(mdpy, mbochs):
    with opened(mdpy.path, MODE) as user, user.device.region(BAR0).mmapped() as window:
        assert resident(window) == len(window)
    with opened(mbochs.path, MODE) as user, user.device.region(BAR0).mmapped() as window:
        assert resident(window) == 0
        for pages, place in enumerate((0, len(window) - 1, 5 * PAGE), 1):
            assert window[place] == 0
            assert resident(window) == pages * PAGE
            window[place] = 1
            assert resident(window) == pages * PAGE


@pytest.mark.promise("P3")
@pytest.mark.parametrize("mode", MODES)
def test_a_mapping_holds_the_display_and_its_memory(display: Target, mode):
    """The descriptor is closed, and each page is there, whether it was touched before or not."""
    with opened(display.path, mode) as user, user.device.region(BAR0).mmapped() as window:
        window[0] = 0x5A
        user.device.close()
        assert window[0] == 0x5A
        window[-1] = 0xA5
        assert window[-1] == 0xA5
        with display.removal() as removal:
            assert removal.wait(0.3) is None
            assert (window[0], window[-1]) == (0x5A, 0xA5)
            window.close()
            removal.must_return(5.0)


@pytest.mark.promise("P3")
@pytest.mark.parametrize("mode", MODES)
def test_mbochs_shows_nobody_what_the_one_before_drew(mbochs, mode):
    """Its pages go with the last reference, and new ones are zero."""
    for _ in range(2):
        with opened(mbochs.path, mode) as user, user.device.region(BAR0).mmapped() as window:
            for place in range(0, len(window), len(window) // 8):
                assert window[place : place + 8] == bytes(8)
                window[place : place + 8] = b"a secret"


@pytest.mark.promise("P8")
def test_a_reset_of_mdpy_brings_the_first_picture_back(mdpy):
    with opened(mdpy.path, MODE) as user, user.device.region(BAR0).mmapped() as window:
        first = window[:]
        assert len(set(first)) > 1
        window[: 1 << 20] = bytes(1 << 20)
        assert window[:] != first
        user.device.reset()
        assert window[:] == first


@pytest.mark.promise("P8")
def test_outside_the_regions_of_a_display_nothing_is_read_or_written(display: Target):
    with opened(display.path, MODE) as user:
        memory, config = user.device.region(BAR0), user.device.region(CONFIG)
        for region, offset, size in (
            (memory, memory.size, 1),
            (memory, memory.size, 4),
            (memory, memory.size + PAGE, 8),
            (memory, 1 << 40, 4),
            (config, config.size + 1, 4),
            (config, config.size + 1, 1),
        ):
            for call in (
                lambda r=region, o=offset, s=size: r.read(o, s),
                lambda r=region, o=offset, s=size: r.write(o, bytes(s)),
            ):
                assert errno_of(call)() in (errno.EINVAL, errno.EFAULT), f"{region}, {offset:#x}"
