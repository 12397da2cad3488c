"""QEMU's educational device: the registers of its interrupt.

Source: docs/specs/edu.rst of QEMU.
"""

import contextlib
from collections.abc import Iterator

from vfio_hw.uapi import lib
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.region import Region

#: Offsets in BAR 0, 4 bytes each. It interrupts while a bit of STATUS is set: writing bits to RAISE
#: sets them, to ACKNOWLEDGE clears them.
STATUS, RAISE, ACKNOWLEDGE = 0x24, 0x60, 0x64
_ALL = 0xFFFFFFFF


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
