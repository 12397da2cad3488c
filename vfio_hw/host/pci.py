"""One PCI function, as sysfs shows it."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from vfio_hw.errors import HarnessError, Unsupported
from vfio_hw.host.reading import PATIENCE, locked_attribute
from vfio_hw.host.sysfs import attribute, link_name, names_in

BUS = Path("/sys/bus/pci")
IOMMU_GROUPS = Path("/sys/kernel/iommu_groups")

#: The kinds of functions this package has drivers and tests for, by (vendor, device).
KINDS = {
    "edu": (0x1234, 0x11E8),
    "e1000e": (0x8086, 0x10D3),
    "nvme": (0x1B36, 0x0010),
}

_ADDRESS = re.compile(
    r"(?:(?P<domain>[0-9a-f]{4,8}):)?(?P<rest>[0-9a-f]{2}:[01][0-9a-f]\.[0-7])", re.IGNORECASE
)


@dataclass(frozen=True)
class PciFunction:
    """A PCI function that existed when it was looked up.

    Its numbers are those of that moment; ``driver``, ``driver_override`` and ``iommu_group`` are
    read anew every time. Source: Documentation/ABI/testing/sysfs-bus-pci.
    """

    address: str
    vendor: int
    device: int
    bus: Path = BUS

    @classmethod
    def at(cls, address: str, bus: Path = BUS) -> Self:
        """The function with this address, ``0000:00:04.0``; without its domain it is in 0000.

        :raises HarnessError: the address is malformed, or no such function exists.
        """
        match = _ADDRESS.fullmatch(address.strip())
        if match is None:
            raise HarnessError(
                f"{address!r} is not a PCI address: write domain:bus:device.function in"
                " hexadecimal, as in 0000:00:04.0"
            )
        full = f"{match['domain'] or '0000'}:{match['rest']}".lower()
        directory = bus / "devices" / full
        vendor, device = attribute(directory / "vendor"), attribute(directory / "device")
        if vendor is None or device is None:
            raise HarnessError(f"there is no PCI function {full}: choose one that `lspci -D` lists")
        return cls(full, int(vendor, 16), int(device, 16), bus)

    @property
    def path(self) -> Path:
        """Its directory under /sys/bus/pci/devices."""
        return self.bus / "devices" / self.address

    @property
    def exists(self) -> bool:
        """The function is still, or again, on the bus."""
        return self.path.is_dir()

    @property
    def kind(self) -> str | None:
        """``edu``, ``e1000e`` or ``nvme``; None for any other function."""
        ids = (self.vendor, self.device)
        return next((kind for kind, those in KINDS.items() if those == ids), None)

    @property
    def class_code(self) -> int:
        """Its class, 24 bits: base class, sub-class, programming interface."""
        return int(attribute(self.path / "class") or "0", 16)

    @property
    def driver(self) -> str | None:
        """The name of the driver it is bound to."""
        return link_name(self.path / "driver")

    @property
    def driver_override(self) -> str | None:
        """The only driver that may bind it; None when any may.

        :raises KernelSplat: the kernel does not say, as the function is locked.
        """
        return self.override_within()

    def override_within(self, deadline: float = PATIENCE) -> str | None:
        """The same, by a deadline in seconds."""
        value = locked_attribute(self.path / "driver_override", deadline)
        return None if value in ("(null)", "") else value

    @property
    def iommu_group(self) -> int | None:
        """The number of its IOMMU group; None without an IOMMU in use."""
        number = link_name(self.path / "iommu_group")
        return None if number is None else int(number)

    def siblings(self, groups: Path = IOMMU_GROUPS) -> list[Self]:
        """The other PCI functions of its IOMMU group: they go to user space together or not."""
        group = self.iommu_group
        if group is None:
            return []
        others = names_in(groups / str(group) / "devices")
        pci = [name for name in others if _ADDRESS.fullmatch(name) and name != self.address]
        return [self.at(name, self.bus) for name in pci]

    def virtual_functions(self) -> list[Self]:
        """The virtual functions that it has now, as a physical one."""
        names = [name for name in names_in(self.path) if name.startswith("virtfn")]
        found = [link_name(self.path / name) for name in names]
        return [self.at(address, self.bus) for address in sorted(filter(None, found))]

    def __str__(self) -> str:
        return self.address


def is_vfio(driver: str) -> bool:
    """Whether a driver of this name gives its functions to user space."""
    return "vfio" in driver


def shown_config(function: Path, offset: int = 0, width: int | None = None) -> bytes:
    """What sysfs shows of the config space of a function: all, or so many bytes from an offset on.

    Source: pci_read_config(), drivers/pci/pci-sysfs.c.

    :param function: its directory in sysfs.
    :raises Unsupported: this is an ordinary user, who is shown the first 64 bytes.
    """
    path = function / "config"
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        wanted = path.stat().st_size - offset if width is None else width
        data = file.read(wanted)
    if len(data) < wanted and os.geteuid() != 0:
        raise Unsupported(f"of {path} user {os.geteuid()} is shown the beginning: run it as root")
    return data
