"""The DMA engine of QEMU's educational device, which has one buffer of its own.

Source: docs/specs/edu.rst of QEMU.
"""

import time
from dataclasses import dataclass

from vfio_hw.errors import KernelSplat
from vfio_hw.uapi import lib
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.region import Region

#: Offsets in BAR 0, 4 bytes each.
SOURCE, TARGET, COUNT, COMMAND = 0x80, 0x88, 0x90, 0x98
START, TO_MEMORY = 1 << 0, 1 << 1
#: Where the engine sees its own buffer.
BUFFER = 0x40000
#: Bytes of one transfer. QEMU ends itself at one that reaches the end of the buffer.
MOST = 2048
#: Iovas that it reaches: its addresses have 28 bits.
REACH = 1 << 28
# Seconds. A transfer takes a tenth.
_DEADLINE, _POLL = 5.0, 0.005


@dataclass(frozen=True)
class Engine:
    """The engine, which may use the bus; opening the device takes that away from it."""

    registers: Region

    def load(self, iova: int, count: int) -> None:
        """Read memory into the engine's own buffer.

        What the IOMMU does not let through leaves something else there.
        """
        self._move(iova, BUFFER, count, 0)

    def store(self, iova: int, count: int) -> None:
        """Write the engine's own buffer to memory."""
        self._move(BUFFER, iova, count, TO_MEMORY)

    def copy(self, source: int, target: int, count: int) -> None:
        """Read memory at one iova and write it to another."""
        self.load(source, count)
        self.store(target, count)

    def _move(self, source: int, target: int, count: int, direction: int) -> None:
        for register, value in (
            (SOURCE, source),
            (TARGET, target),
            (COUNT, count),
            (COMMAND, START | direction),
        ):
            self.registers.put(register, 4, value)
        end = time.monotonic() + _DEADLINE
        while self.registers.get(COMMAND, 4) & START:
            if time.monotonic() > end:
                raise KernelSplat(
                    f"{self.registers} was not done with a transfer after {_DEADLINE:g} s: see "
                    "whether its memory is enabled",
                    oracle="answer",
                )
            time.sleep(_POLL)


def engine(device: Device) -> Engine:
    """The engine of an open edu, which becomes a bus master."""
    device.config().enable_master()
    return Engine(device.region(lib.VFIO_PCI_BAR0_REGION_INDEX))
