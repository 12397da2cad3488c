"""What is in this machine: PCI functions by kind and IOMMU groups; mdev types are in mdev.py."""

import pyudev  # type: ignore[import-untyped]

from vfio_hw.errors import HarnessError
from vfio_hw.host.pci import IOMMU_GROUPS, KINDS, PciFunction
from vfio_hw.host.sysfs import names_in


def functions() -> list[PciFunction]:
    """Every PCI function, in the order of its address."""
    found = pyudev.Context().list_devices(subsystem="pci")
    return [PciFunction.at(name) for name in sorted(str(device.sys_name) for device in found)]


def functions_of_kind(kind: str) -> list[PciFunction]:
    """Every function of a kind (``edu``, ``e1000e``, ``nvme``), in the order of its address.

    :raises HarnessError: there is no such kind.
    """
    if kind not in KINDS:
        raise HarnessError(f"{kind!r} is not a kind of device: choose from {', '.join(KINDS)}")
    return [function for function in functions() if function.kind == kind]


def iommu_groups() -> dict[int, list[str]]:
    """The IOMMU groups and the names of the devices in each, PCI and others."""
    return {
        int(number): names_in(IOMMU_GROUPS / number / "devices")
        for number in sorted(names_in(IOMMU_GROUPS), key=int)
    }
