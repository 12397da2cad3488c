"""A region of a device: a window of its descriptor that is read, written or mapped."""

import contextlib
import mmap
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vfio_hw.errors import KernelRefused, KernelSplat
from vfio_hw.uapi import lib
from vfio_hw.vfio.descriptor import Descriptor
from vfio_hw.vfio.info import capability


@dataclass(frozen=True)
class Region:
    """One region, as VFIO_DEVICE_GET_REGION_INFO described it.

    Offsets are bytes from the start of the region, and integers little-endian, as PCI has them: an
    aligned access of 1, 2, 4 or 8 bytes reaches the device as one access of that width.
    """

    device: Descriptor
    index: int
    flags: int
    size: int
    offset: int
    capabilities: dict[int, bytes]

    @property
    def kind(self) -> tuple[int, int] | None:
        """Type and subtype of a region whose index says nothing of it; None for any other.

        Source: linux/vfio.h, VFIO_REGION_INFO_CAP_TYPE.
        """
        data = self.capabilities.get(lib.VFIO_REGION_INFO_CAP_TYPE)
        if data is None:
            return None
        found = capability("struct vfio_region_info_cap_type", data)
        return found.type, found.subtype

    @property
    def readable(self) -> bool:
        """read(2) works."""
        return bool(self.flags & lib.VFIO_REGION_INFO_FLAG_READ)

    @property
    def writable(self) -> bool:
        """write(2) works."""
        return bool(self.flags & lib.VFIO_REGION_INFO_FLAG_WRITE)

    @property
    def mappable(self) -> bool:
        """mmap(2) works."""
        return bool(self.flags & lib.VFIO_REGION_INFO_FLAG_MMAP)

    def read(self, offset: int, count: int) -> bytes:
        """Read ``count`` bytes.

        :raises KernelRefused: with the errno of the read.
        :raises KernelSplat: fewer bytes than that were moved, and no errno says why.
        """
        try:
            data = os.pread(self.device.fileno(), count, self.offset + offset)
        except OSError as error:
            raise KernelRefused(error.errno or 0, f"read at {offset:#x}", str(self)) from None
        self._whole(len(data), count, offset, "read")
        return data

    def write(self, offset: int, data: bytes) -> None:
        """Write ``data``.

        :raises KernelRefused: with the errno of the write.
        :raises KernelSplat: fewer bytes than that were moved, and no errno says why.
        """
        try:
            count = os.pwrite(self.device.fileno(), data, self.offset + offset)
        except OSError as error:
            raise KernelRefused(error.errno or 0, f"write at {offset:#x}", str(self)) from None
        self._whole(count, len(data), offset, "write")

    def get(self, offset: int, width: int) -> int:
        """Read the register of ``width`` bytes at ``offset``."""
        return int.from_bytes(self.read(offset, width), "little")

    def put(self, offset: int, width: int, value: int) -> None:
        """Write the register of ``width`` bytes at ``offset``."""
        self.write(offset, value.to_bytes(width, "little"))

    @contextlib.contextmanager
    def mmapped(self, offset: int = 0, size: int | None = None) -> Iterator[mmap.mmap]:
        """The region, or ``size`` bytes of it from ``offset`` on, is mapped inside.

        The mapping keeps the device open by itself, whatever happens to the descriptor.

        :raises KernelRefused: with the errno of the mmap.
        """
        length = self.size - offset if size is None else size
        try:
            mapping = mmap.mmap(self.device.fileno(), length, offset=self.offset + offset)
        except OSError as error:
            raise KernelRefused(error.errno or 0, "mmap", str(self)) from None
        with mapping:
            yield mapping

    def __str__(self) -> str:
        return f"region {self.index} of {self.device.name}"

    def _whole(self, done: int, wanted: int, offset: int, what: str) -> None:
        if done != wanted:
            raise KernelSplat(
                f"{what} of {wanted} bytes at {offset:#x} in {self}, which has {self.size}, moved"
                f" {done}: inside the region it moves all of them, beyond its end none",
                oracle="answer",
            )


def outside(
    regions: Iterable[Region], length: int, *, align: int = 1, end: int = 2**63
) -> list[int]:
    """Offsets in a device file at which ``length`` bytes are in none of its regions.

    In each gap: the first and the last one, and some between. Where the regions are is the kernel's
    affair, and what is not in one of them is not to be guessed.

    :param align: of each offset.
    :param end: of the offsets that a caller can name; that of a file is 2**63.
    """
    spans = sorted((each.offset, each.offset + each.size) for each in regions if each.size)
    found, low = list[int](), 0
    for start, stop in (*spans, (end, end)):
        first, last = -(-low // align) * align, (start - length) // align * align
        steps = (first + (1 << bit) * align for bit in range(end.bit_length()))
        found += sorted({at for at in (first, last, *steps) if first <= at <= last})
        low = max(low, stop)
    return found
