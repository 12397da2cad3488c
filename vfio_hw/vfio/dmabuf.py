"""A region of a device as a dma-buf. Source: linux/vfio.h, VFIO_DEVICE_FEATURE_DMA_BUF."""

import contextlib
import mmap
import os
from collections.abc import Iterator, Sequence

from vfio_hw.errors import KernelRefused
from vfio_hw.uapi import ffi, lib, struct
from vfio_hw.vfio.descriptor import Descriptor, errno_of
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.feature import GET, feature


class DmaBuf(Descriptor):
    """A dma-buf, open."""

    @property
    def size(self) -> int:
        """Its size in bytes. Source: Documentation/driver-api/dma-buf.rst, llseek."""
        return os.lseek(self.fileno(), 0, os.SEEK_END)

    @contextlib.contextmanager
    def mmapped(self, size: int, offset: int = 0) -> Iterator[mmap.mmap]:
        """``size`` bytes of it from ``offset`` on can be read inside.

        :raises KernelRefused: EINVAL when they are not in the buffer, or it can not be mapped.
        """
        try:
            mapping = mmap.mmap(self.fileno(), size, prot=mmap.PROT_READ, offset=offset)
        except OSError as error:
            raise KernelRefused(error.errno or 0, "mmap", self.name) from None
        with mapping:
            yield mapping


def export(
    device: Device,
    index: int,
    ranges: Sequence[tuple[int, int]],
    *,
    flags: int = 0,
    open_flags: int = os.O_RDWR | os.O_CLOEXEC,
) -> DmaBuf:
    """A new dma-buf of these parts of the region, each its offset and its length in bytes.

    :param index: of a BAR.
    :param open_flags: those of open(2) with which its descriptor is opened.
    :raises KernelRefused: ENODEV when there is no such BAR; EINVAL for no part, or one that is
        empty, not of whole pages or behind the end; EMFILE without a free descriptor.
    """
    request = struct(
        "vfio_device_feature_dma_buf",
        region_index=index,
        open_flags=open_flags,
        flags=flags,
        nr_ranges=len(ranges),
        dma_ranges=[{"offset": offset, "length": length} for offset, length in ranges],
    )
    number = lib.VFIO_DEVICE_FEATURE_DMA_BUF
    fd, _ = feature(device, number | GET, bytes(ffi.buffer(request)))
    return DmaBuf(fd, f"dma-buf of region {index} of {device.name}")


export_errno = errno_of(export)
