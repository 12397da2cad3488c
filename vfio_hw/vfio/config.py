"""PCI config space, as the config region shows it."""

from dataclasses import dataclass

from vfio_hw.errors import KernelSplat
from vfio_hw.vfio.region import Region

VENDOR, DEVICE, COMMAND, STATUS = 0x00, 0x02, 0x04, 0x06
BARS, CAPABILITIES, INTERRUPT_PIN = 0x10, 0x34, 0x3D
COMMAND_MASTER = 1 << 2
STATUS_CAPABILITIES = 1 << 4
CAPABILITY_MSI, CAPABILITY_MSIX = 0x05, 0x11


@dataclass(frozen=True)
class Config:
    """The config space in a region. Source: linux/pci_regs.h, PCI Local Bus Specification 3.0."""

    region: Region

    def get(self, offset: int, width: int) -> int:
        """Read a register of ``width`` bytes."""
        return self.region.get(offset, width)

    def put(self, offset: int, width: int, value: int) -> None:
        """Write a register of ``width`` bytes."""
        self.region.put(offset, width, value)

    def capability(self, identity: int) -> int | None:
        """The offset of the capability with this id; None when the function has it not.

        :raises KernelSplat: the list of capabilities never ends.
        """
        if not self.get(STATUS, 2) & STATUS_CAPABILITIES:
            return None
        offset = self.get(CAPABILITIES, 1) & ~3
        for _ in range(48):  # as many as fit behind the header
            if not offset:
                return None
            if self.get(offset, 1) == identity:
                return offset
            offset = self.get(offset + 1, 1) & ~3
        raise KernelSplat(
            f"the list of capabilities in {self.region} runs in a circle", oracle="answer"
        )

    def enable_master(self) -> None:
        """Let the function write to memory: DMA and MSI need it, and opening takes it away."""
        self.put(COMMAND, 2, self.get(COMMAND, 2) | COMMAND_MASTER)

    def bar_size(self, number: int) -> int:
        """The size of a 32-bit BAR, found by writing ones to it; 0 when there is none."""
        offset = BARS + 4 * number
        before = self.get(offset, 4)
        self.put(offset, 4, 0xFFFFFFFF)
        mask = self.get(offset, 4) & (~3 if before & 1 else ~15)
        self.put(offset, 4, before)
        return (-mask) & 0xFFFFFFFF
