"""This file checks what a dma-buf of a BAR is asked for with: ranges in argsz, flags of open(2).

Source: linux/vfio.h, VFIO_DEVICE_FEATURE_DMA_BUF, and for argsz "The IOCTL interface is designed
for extensibility". Promises: P8, and P7: nothing is exported by what is refused.
"""

import errno
import fcntl
import os

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.fixtures.argsz import ending
from vfio_hw.uapi import ffi, ioctl_errno, lib, struct
from vfio_hw.vfio.descriptor import next_free
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.dma import PAGE
from vfio_hw.vfio.dmabuf import export, export_errno
from vfio_hw.vfio.feature import GET
from vfio_hw.vfio.opened import opened

MODES = ["vfio_type1v2_iommu", "iommufd"]
BAR0 = lib.VFIO_PCI_BAR0_REGION_INDEX
RANGES = [(0, PAGE), (PAGE, PAGE)]
HEADER = ffi.sizeof("struct vfio_device_feature")
#: Up to where no range is.
BARE = HEADER + ffi.sizeof("struct vfio_device_feature_dma_buf")
WHOLE = BARE + len(RANGES) * ffi.sizeof("struct vfio_region_dma_range")


def request(argsz: int, nr_ranges: int = len(RANGES)) -> bytes:
    """The bytes of a request that has two ranges, and says that it has so many."""
    told = [{"offset": offset, "length": length} for offset, length in RANGES]
    data = struct("vfio_device_feature_dma_buf", region_index=BAR0, dma_ranges=told)
    data.nr_ranges = nr_ranges
    flags = lib.VFIO_DEVICE_FEATURE_DMA_BUF | GET
    held = bytes(ffi.buffer(data))
    return bytes(ffi.buffer(struct("vfio_device_feature", argsz=argsz, flags=flags, data=held)))


def answer(device: Device, data: bytes) -> int:
    """The errno of the request; what it exports is closed again."""
    argument = ffi.new("uint8_t[]", data)
    fd, refused = ioctl_errno(device.fileno(), "VFIO_DEVICE_FEATURE", argument)
    if not refused:
        os.close(fd)
    return refused


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@pytest.mark.parametrize("mode", MODES)
def test_ranges_that_argsz_does_not_hold_are_not_taken(exporter: Target, mode):
    """As an array is by SET_IRQS, and a struct by every other feature: vfio_check_feature()."""
    with opened(exporter.path, mode) as user:
        free = next_free(user.device)
        for argsz in range(BARE, WHOLE):
            assert answer(user.device, request(argsz)) == errno.EINVAL, f"{argsz} bytes"
        assert next_free(user.device) == free
        assert answer(user.device, request(WHOLE)) == 0


@pytest.mark.promise("P8")
@pytest.mark.parametrize("nr_ranges", [3, 1 << 16, 1 << 28, 2**32 - 1])
def test_more_ranges_than_argsz_holds_are_too_many(exporter: Target, nr_ranges):
    """EINVAL, as above, whether there is memory of ours where they would be, or none."""
    with opened(exporter.path, MODES[0]) as user:
        data = request(WHOLE, nr_ranges)
        assert answer(user.device, data + bytes(PAGE)) == errno.EINVAL
        with ending(data) as argument:
            fd = user.device.fileno()
            assert ioctl_errno(fd, "VFIO_DEVICE_FEATURE", argument)[1] == errno.EINVAL


@pytest.mark.promise("P7")
@pytest.mark.parametrize("mode", MODES)
def test_a_number_of_ranges_that_nobody_has_exports_nothing(exporter: Target, mode):
    """Whatever it is refused with; EINVAL for none at all. The device is as it was."""
    with opened(exporter.path, mode) as user:
        free = next_free(user.device)
        for nr_ranges in (3, 1 << 16, 1 << 24, 1 << 28, 2**31, 2**32 - 1):
            for argsz in (WHOLE, 2**32 - 1):
                data = request(argsz, nr_ranges)
                with ending(data) as argument:
                    fd, refused = ioctl_errno(user.device.fileno(), "VFIO_DEVICE_FEATURE", argument)
                assert (fd, refused != 0) == (-1, True), f"{nr_ranges} ranges in {argsz} bytes"
        for argsz in (BARE, WHOLE, 2**32 - 1):
            assert answer(user.device, request(argsz, 0)) == errno.EINVAL
        assert next_free(user.device) == free
        assert export_errno(user.device, BAR0, RANGES) == 0


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("access", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR], ids=["r", "w", "rw"])
def test_a_dma_buf_is_opened_as_it_is_asked_for(exporter: Target, mode, access):
    """For reading or writing, waiting or not, inherited or not. Source: fcntl(2), F_GETFL."""
    with opened(exporter.path, mode) as user:
        for cloexec in (0, os.O_CLOEXEC):
            for nonblock in (0, os.O_NONBLOCK):
                flags = access | cloexec | nonblock
                with export(user.device, BAR0, RANGES, open_flags=flags) as buffer:
                    inherited = fcntl.fcntl(buffer, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
                    assert bool(inherited) == bool(cloexec)
                    status = fcntl.fcntl(buffer, fcntl.F_GETFL)
                    assert status & os.O_ACCMODE == access
                    assert status & os.O_NONBLOCK == nonblock


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_flags_that_do_not_open_a_dma_buf_are_refused_or_mean_nothing(exporter: Target):
    """The header speaks of the typical ones; open(2) ignores those that it does not know."""
    bits = [1 << bit for bit in range(2, 32)]
    with opened(exporter.path, MODES[0]) as user:
        with export(user.device, BAR0, RANGES) as plain:
            size, status = plain.size, fcntl.fcntl(plain, fcntl.F_GETFL)
        free = next_free(user.device)
        for flag in (*bits, os.O_TMPFILE, 2**32 - 4):
            meant = flag & os.O_NONBLOCK
            flags = os.O_RDWR | flag
            refused = export_errno(user.device, BAR0, RANGES, open_flags=flags)
            assert refused in (0, errno.EINVAL), f"{flag:#x}"
            if not refused:
                with export(user.device, BAR0, RANGES, open_flags=flags) as buffer:
                    assert buffer.size == size
                    assert fcntl.fcntl(buffer, fcntl.F_GETFL) == status | meant, f"{flag:#x}"
            assert next_free(user.device) == free
