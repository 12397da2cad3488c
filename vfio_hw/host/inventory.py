"""What is in this machine: PCI functions by kind and IOMMU groups; mdev types are in mdev.py."""

from functools import cache

import pyudev  # type: ignore[import-untyped]

from vfio_hw.errors import HarnessError
from vfio_hw.host.pci import IOMMU_GROUPS, KINDS, PciFunction
from vfio_hw.host.sysfs import names_in


def functions(**properties: str) -> list[PciFunction]:
    """Every PCI function, in the order of its address.

    :param properties: of its uevent that it must have, as in ``PCI_ID="8086:10D3"``.
    """
    found = _udev().list_devices(subsystem="pci", **properties)
    return [PciFunction.at(name) for name in sorted(str(device.sys_name) for device in found)]


def functions_of_kind(kind: str) -> list[PciFunction]:
    """Every function of a kind (``edu``, ``e1000e``, ``nvme``), in the order of its address.

    :raises HarnessError: there is no such kind.
    """
    if kind not in KINDS:
        raise HarnessError(f"{kind!r} is not a kind of device: choose from {', '.join(KINDS)}")
    vendor, device = KINDS[kind]
    return functions(PCI_ID=f"{vendor:04X}:{device:04X}")


@cache
def _udev() -> pyudev.Context:
    # Making one runs ldconfig, to find the library.
    return pyudev.Context()


def iommu_groups() -> dict[int, list[str]]:
    """The IOMMU groups and the names of the devices in each, PCI and others."""
    return {
        int(number): names_in(IOMMU_GROUPS / number / "devices")
        for number in sorted(names_in(IOMMU_GROUPS), key=int)
    }
