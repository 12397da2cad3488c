"""QEMU's educational device: the registers of its interrupt, and of its copies.

Source: docs/specs/edu.rst of QEMU.
"""

import contextlib
import time
from collections.abc import Iterator

from vfio_hw.errors import HarnessError
from vfio_hw.uapi import lib
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.region import Region

#: Offsets in BAR 0, 4 bytes each. It interrupts while a bit of STATUS is set: writing bits to RAISE
#: sets them, to ACKNOWLEDGE clears them.
STATUS, RAISE, ACKNOWLEDGE = 0x24, 0x60, 0x64
_ALL = 0xFFFFFFFF
# 8 bytes each. A copy goes between an iova below 2**28 and a buffer of 4096 bytes of its own.
_SOURCE, _DESTINATION, _COUNT, _COMMAND, _BUFFER = 0x80, 0x88, 0x90, 0x98, 0x40000
_RUN, _TO_MEMORY = 1 << 0, 1 << 1
_DEADLINE, _PAUSE = 20.0, 0.005


@contextlib.contextmanager
def acknowledged(device: Device) -> Iterator[Region]:
    """The registers of an open edu, which asserts no interrupt when this begins, nor after it.

    Where the function can not be reset, what it asserts outlives the close and the driver, and the
    next one to arm INTx never sees the line rise. MSI must be off at the end: while it is on, edu
    does not lower INTx.
    """
    registers = device.region(lib.VFIO_PCI_BAR0_REGION_INDEX)
    registers.put(ACKNOWLEDGE, 4, _ALL)
    try:
        yield registers
    finally:
        registers.put(ACKNOWLEDGE, 4, _ALL)


def fetch(registers: Region, iova: int, count: int) -> None:
    """Let it copy ``count`` bytes from the iova into its own buffer, as master of the bus.

    :raises HarnessError: it did not end.
    """
    _copy(registers, iova, _BUFFER, count, _RUN)


def store(registers: Region, iova: int, count: int) -> None:
    """Let it copy the first ``count`` bytes of its own buffer to the iova.

    :raises HarnessError: it did not end.
    """
    _copy(registers, _BUFFER, iova, count, _RUN | _TO_MEMORY)


def _copy(registers: Region, source: int, destination: int, count: int, command: int) -> None:
    for register, value in ((_SOURCE, source), (_DESTINATION, destination), (_COUNT, count)):
        registers.put(register, 8, value)
    registers.put(_COMMAND, 8, command)
    end = time.monotonic() + _DEADLINE
    while registers.get(_COMMAND, 8) & _RUN:
        if time.monotonic() > end:
            raise HarnessError(
                f"{registers.device.name} did not end a copy of {count} bytes within"
                f" {_DEADLINE:g} s: look whether QEMU runs"
            )
        time.sleep(_PAUSE)
