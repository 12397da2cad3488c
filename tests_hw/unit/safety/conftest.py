"""An imitation of sysfs, /proc and /dev: a machine with one PCI function, under its own root."""

from pathlib import Path

import pytest

from vfio_hw.host.pci import PciFunction
from vfio_hw.host.safety import Refusal, Safety


class Tree:
    """A machine with one PCI function, under a root of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bus = root / "sys/bus/pci"
        self.function = self.bus / "devices/0000:03:00.0"
        self.function.mkdir(parents=True)
        for name, value in {"vendor": "0x1000", "device": "0x0001", "class": "0x010802"}.items():
            (self.function / name).write_text(f"{value}\n")
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/mountinfo").write_text("")
        (root / "proc/swaps").write_text("Filename Type Size Used Priority\n")
        (root / "proc/filesystems").write_text("nodev\ttmpfs\nnodev\tfuse\n\text4\n\tbtrfs\n")
        (root / "dev").mkdir()

    def attribute(self, name: str, value: str) -> None:
        (self.function / name).write_text(f"{value}\n")

    def driver(self, name: str) -> None:
        (self.function / "driver").symlink_to(self.bus / "drivers" / name)

    def below(self, path: str, subsystem: str, node: str | None = None) -> Path:
        """A device that the driver made, in its place and in its class."""
        directory = self.function / path
        directory.mkdir(parents=True)
        (directory / "subsystem").symlink_to(self.root / "sys/class" / subsystem)
        if node:
            (directory / "dev").write_text(f"{node}\n")
        classes = self.root / "sys/class" / subsystem
        classes.mkdir(parents=True, exist_ok=True)
        (classes / directory.name).symlink_to(directory)
        return directory

    def disk(self, content: bytes = b"") -> None:
        self.below("nvme/nvme0/nvme0n1", "block", "259:0")
        with (self.root / "dev/nvme0n1").open("wb") as file:
            file.write(content)
            file.truncate(2 << 20)

    def rules(self) -> list[str]:
        return [each.rule for each in self.refusals()]

    def refusals(self) -> list[Refusal]:
        return Safety(self.root).refusals(self.pci())

    def pci(self) -> PciFunction:
        return PciFunction.at("0000:03:00.0", self.bus)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)
