"""Logging of the pages that a device writes.

Source: linux/vfio.h, VFIO_DEVICE_FEATURE_DMA_LOGGING_START, _STOP and _REPORT.
"""

from collections.abc import Sequence

from vfio_hw.uapi import ffi, lib, struct
from vfio_hw.vfio.descriptor import errno_of
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.dma import PAGE
from vfio_hw.vfio.feature import GET, SET, feature
from vfio_hw.vfio.info import capability

#: The number of ranges that every device takes: as many as fit into a page.
MOST_RANGES = PAGE // ffi.sizeof("struct vfio_device_feature_dma_logging_range")


def start_logging(device: Device, ranges: Sequence[tuple[int, int]], page_size: int = PAGE) -> int:
    """Log what the device writes to these iovas, each a first one and a length in bytes.

    :param page_size: what is wished for; the size that the device chose is returned.
    :raises KernelRefused: ENOTTY when the device can not log; EINVAL for no range, one that is not
        aligned, or two that overlap; EOVERFLOW for one that wraps; E2BIG for too many.
    """
    listed = [{"iova": iova, "length": length} for iova, length in ranges]
    array = ffi.new("struct vfio_device_feature_dma_logging_range[]", listed)
    return start_logging_at(device, int(ffi.cast("uintptr_t", array)), len(listed), page_size)


start_logging_errno = errno_of(start_logging)


def start_logging_at(device: Device, ranges: int, count: int, page_size: int = PAGE) -> int:
    """The same, of ranges that lie at an address."""
    control = struct(
        "vfio_device_feature_dma_logging_control",
        page_size=page_size,
        num_ranges=count,
        ranges=ranges,
    )
    flags = lib.VFIO_DEVICE_FEATURE_DMA_LOGGING_START | SET
    _, data = feature(device, flags, bytes(ffi.buffer(control)))
    layout = "struct vfio_device_feature_dma_logging_control"
    return int(capability(layout, data).page_size)


start_logging_at_errno = errno_of(start_logging_at)


def stop_logging(device: Device) -> None:
    """Log no more.

    :raises KernelRefused: ENOTTY when the device can not log.
    """
    feature(device, lib.VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP | SET)


stop_logging_errno = errno_of(stop_logging)


def logged(
    device: Device, iova: int, length: int, page_size: int = PAGE, bitmap: bytes = b""
) -> bytes:
    """Which pages of the range the device wrote, a bit for each, since this was last asked.

    :param bitmap: what the bitmap has before the kernel sets bits in it, from its first byte on.
    :raises KernelRefused: EINVAL for a page size that is no power of two, EOVERFLOW for a range
        that wraps, an error when nothing is logged, ENOTTY when the device can not log.
    """
    count = max(1, -(-min(length, 1 << 30) // (PAGE * 64)), -(-len(bitmap) // 8))
    words = ffi.new("uint64_t[]", count)
    ffi.memmove(words, bitmap, len(bitmap))
    report = struct(
        "vfio_device_feature_dma_logging_report",
        iova=iova,
        length=length,
        page_size=page_size,
        bitmap=int(ffi.cast("uintptr_t", words)),
    )
    number = lib.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT
    feature(device, number | GET, bytes(ffi.buffer(report)))
    return bytes(ffi.buffer(words))


logged_errno = errno_of(logged)
