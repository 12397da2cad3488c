"""This file checks what vfio_hw/vfio does by itself, without any device."""

import errno
import os
import struct
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from vfio_hw.errors import HarnessError, KernelRefused, KernelSplat, Unsupported
from vfio_hw.verdict import blamed
from vfio_hw.vfio import names
from vfio_hw.vfio.config import CAPABILITIES, STATUS, STATUS_CAPABILITIES, Config
from vfio_hw.vfio.descriptor import Descriptor, errno_of, open_offered
from vfio_hw.vfio.dma import PAGE, first_iova, memory
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.info import _chain
from vfio_hw.vfio.opened import opened
from vfio_hw.vfio.region import Region, outside


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_a_descriptor_is_closed_once():
    fd = os.open("/dev/null", os.O_RDWR)
    with Descriptor(fd, "null") as null:
        assert null.fileno() == fd
        null.close()
        assert null.closed
        reused = os.open("/dev/null", os.O_RDWR)
        assert reused == fd
    assert is_open(reused), "a second close hit a descriptor that is not ours"
    os.close(reused)
    with pytest.raises(HarnessError, match="null was used after it was closed"):
        null.fileno()


def test_the_errno_of_a_call_that_opens_something_leaves_nothing_open():
    given = []

    def opens() -> Descriptor:
        given.append(Descriptor(os.open("/dev/null", os.O_RDWR), "null"))
        return given[0]

    assert errno_of(opens)() == 0
    assert given[0].closed


def test_the_errno_of_a_refused_call_is_the_kernels():
    def refused() -> None:
        raise KernelRefused(errno.EXDEV, "VFIO_DEVICE_RESET", "nothing")

    def broken() -> None:
        raise HarnessError("not an answer of the kernel")

    assert errno_of(refused)() == errno.EXDEV
    with pytest.raises(HarnessError):
        errno_of(broken)()


def test_a_node_that_is_not_there_is_a_lack_of_the_kernel(tmp_path):
    with pytest.raises(Unsupported, match="CONFIG_IOMMUFD"):
        open_offered(tmp_path / "iommu", "CONFIG_IOMMUFD")


def test_an_eventfd_counts_its_signals():
    with EventFd("a test") as eventfd:
        assert eventfd.fired() == 0
        assert eventfd.silent(0)
        os.eventfd_write(eventfd.fileno(), 2)
        assert not eventfd.silent(0)
        assert eventfd.wait(1) == 2
        with pytest.raises(KernelSplat, match=r"a test was not signalled within 0\.01 s"):
            eventfd.wait(0.01)


def header(identity: int, following: int) -> bytes:
    return struct.pack("=HHI", identity, 1, following)


def test_a_chain_of_capabilities_is_followed_to_its_end():
    data = bytes(8) + header(3, 24) + b"payload " + header(1, 0)
    found = _chain(data, 8, "test")
    assert list(found) == [3, 1]
    assert found[3][8:16] == b"payload "
    assert _chain(data, 0, "test") == {}


@pytest.mark.parametrize("following", [8, 4, 20, 4096])
def test_a_chain_that_runs_back_or_out_is_the_kernels_fault(following):
    with pytest.raises(KernelSplat, match="capability at"):
        _chain(bytes(8) + header(3, following) + bytes(4), 8, "test")


@dataclass
class Ranges:
    """As much of an IOMMU as :func:`first_iova` asks for."""

    ranges: list[tuple[int, int]] | None
    name: str = "test"

    def iova_ranges(self) -> list[tuple[int, int]] | None:
        return self.ranges


def test_the_first_iova_is_aligned_and_has_room():
    assert first_iova(Ranges(None)) == PAGE
    assert first_iova(Ranges([(0, 2 * PAGE - 1)])) == PAGE
    assert first_iova(Ranges([(0, 2 * PAGE - 2), (9 * PAGE + 1, 2**40)])) == 10 * PAGE
    with pytest.raises(HarnessError, match="map less"):
        first_iova(Ranges([(0, PAGE)]))


def test_memory_is_aligned_and_at_its_address():
    with memory(2 * PAGE) as ours:
        assert ours.vaddr % PAGE == 0
        assert len(ours.bytes) == ours.size == 2 * PAGE
        ours.bytes[0:4] = b"here"
        with Path("/proc/self/mem").open("rb", buffering=0) as own:
            own.seek(ours.vaddr)
            assert own.read(4) == b"here"


@pytest.fixture
def region(tmp_path):
    """A region of 256 bytes, in a file at offset 4096."""
    path = tmp_path / "device"
    path.write_bytes(bytes(4096 + 256))
    with Descriptor(os.open(path, os.O_RDWR), "file") as file:
        yield Region(file, 7, 3, 256, 4096, {})


def test_a_register_is_little_endian_and_at_its_offset(region):
    region.put(8, 4, 0x11223344)
    assert region.read(8, 4) == bytes([0x44, 0x33, 0x22, 0x11])
    assert region.get(8, 2) == 0x3344
    assert os.pread(region.device.fileno(), 1, 4096 + 8) == b"\x44"


def test_a_read_that_is_cut_short_is_an_answer_of_the_kernels(region):
    """It is not taken for data, nor by the twin for a refusal, nor for a fault of ours."""
    for call in (region.read, errno_of(region.read)):
        with pytest.raises(KernelSplat, match="moved 2") as cut:
            call(254, 4)
        assert cut.value.oracle == "answer"
        assert blamed(cut.value, "call") == "kernel"


def test_what_is_outside_of_all_regions_is_told_by_their_offsets_and_sizes(region):
    spans = [(0, 16), (16, 8), (100, 0), (4096, 100)]
    regions = [replace(region, offset=offset, size=size) for offset, size in spans]
    places = outside(regions, 4)
    assert places == sorted(places)
    assert (places[0], places[-1]) == (24, 2**63 - 4)
    assert {24, 25, 4092, 4196} <= set(places)
    for at in places:
        assert all(at + 4 <= start or at >= start + size for start, size in spans if size)
    aligned = outside(regions, 4096, align=4096)
    assert aligned[0] == 8192
    assert aligned[-1] == 2**63 - 4096
    assert not any(at % 4096 for at in aligned)
    assert outside([replace(region, offset=0, size=2**63)], 1) == []


def test_the_capability_list_is_searched_and_may_not_run_in_a_circle(region):
    config = Config(region)
    region.put(CAPABILITIES, 1, 0x40)
    region.put(0x40, 2, 0x5001)
    region.put(0x50, 2, 0x0005)
    assert config.capability(5) is None, "the status register says that there is no list"
    region.put(STATUS, 2, STATUS_CAPABILITIES)
    assert config.capability(1) == 0x40
    assert config.capability(5) == 0x50
    assert config.capability(0x11) is None
    region.put(0x51, 1, 0x40)
    with pytest.raises(KernelSplat, match="runs in a circle"):
        config.capability(0x11)


def test_a_device_that_does_not_exist_is_named_in_one_sentence():
    for name in ("0000:ff:1f.7", "4:0", "/sys/bus/pci/devices/none"):
        with pytest.raises(HarnessError, match=f"there is no device {name}"):
            names.device_path(name)


def test_a_device_without_group_or_node_says_what_is_missing(tmp_path):
    with pytest.raises(Unsupported, match="iommu_group"):
        names.group_path(tmp_path)
    with pytest.raises(HarnessError, match="bind it to a VFIO driver"):
        names.cdev_path(tmp_path)
    (tmp_path / "vfio-dev" / "vfio3").mkdir(parents=True)
    with pytest.raises(Unsupported, match="CONFIG_VFIO_DEVICE_CDEV"):
        names.cdev_path(tmp_path)
    (tmp_path / "vfio-dev" / "vfio3" / "dev").write_text("511:3\n")
    assert names.cdev_path(tmp_path) == Path("/dev/vfio/devices/vfio3")


def test_a_mode_that_does_not_exist_is_refused_with_the_ones_that_do(tmp_path):
    with pytest.raises(HarnessError, match="choose one of vfio_type1_iommu"), opened(tmp_path, "x"):
        pass
