"""What the tests know of QEMU's standard VGA: one function, seen in two ways.

Its BARs show what is behind the legacy addresses, whoever these go to: BAR 0 its memory, BAR 2 the
ports from 3C0h on. Source: QEMU, docs/specs/standard-vga.rst.
"""

from vfio_hw.uapi import lib
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.region import Region

VGA = lib.VFIO_PCI_VGA_REGION_INDEX
#: Where the legacy addresses are: first, and behind the last. Source: linux/vfio.h, the comment on
#: VFIO_PCI_VGA_REGION_INDEX.
MEMORY = (0xA0000, 0xC0000)
PORTS = ((0x3B0, 0x3BC), (0x3C0, 0x3E0))
#: The sequencer: the port of an index, and that of the register with this index.
SEQUENCER = 0x3C4
MAP_MASK, MEMORY_MODE = 2, 4
#: In it, four bytes in a row are in four planes: then memory is as it is in BAR 0.
CHAINED = 0x0E
_CONTROLLER, _MISCELLANEOUS, _AT_A0000 = 0x3CE, 6, 0x05
_PORTS_IN_BAR = 0x400 - 0x3C0


class Graphics:
    """An open graphics function."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.legacy: Region = device.region(VGA)
        self.memory: Region = device.region(lib.VFIO_PCI_BAR0_REGION_INDEX)
        self._registers: Region = device.region(lib.VFIO_PCI_BAR2_REGION_INDEX)

    def in_bar(self, register: int) -> int:
        """A register of the sequencer, by the BAR."""
        self._registers.put(SEQUENCER + _PORTS_IN_BAR, 1, register)
        return self._registers.get(SEQUENCER + 1 + _PORTS_IN_BAR, 1)

    def put_in_bar(self, register: int, value: int) -> None:
        """Set a register of the sequencer, by the BAR."""
        self._registers.put(SEQUENCER + _PORTS_IN_BAR, 1, register)
        self._registers.put(SEQUENCER + 1 + _PORTS_IN_BAR, 1, value)

    def by_port(self, register: int) -> int:
        """A register of the sequencer, by its legacy port."""
        self.legacy.put(SEQUENCER, 1, register)
        return self.legacy.get(SEQUENCER + 1, 1)

    def put_by_port(self, register: int, value: int) -> None:
        """Set a register of the sequencer, by its legacy port."""
        self.legacy.put(SEQUENCER, 1, register)
        self.legacy.put(SEQUENCER + 1, 1, value)

    def show_memory(self) -> None:
        """Its memory is at A0000h, byte by byte, from the first on."""
        self.put_in_bar(MEMORY_MODE, CHAINED)
        self.put_in_bar(MAP_MASK, 0x0F)
        at = _CONTROLLER + _PORTS_IN_BAR
        self._registers.put(at, 1, _MISCELLANEOUS)
        self._registers.put(at + 1, 1, _AT_A0000)
