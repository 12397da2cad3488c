"""What sysfs says of the IOMMU in front of a device."""

from pathlib import Path

from vfio_hw.errors import Unsupported


def reserved_iovas(device: Path) -> list[tuple[int, int]]:
    """The iovas, as (first, last), that may not be mapped for the device in this sysfs directory.

    Those that its group's reserved_regions tell, but for the relaxable ones.
    Source: Documentation/ABI/testing/sysfs-kernel-iommu_groups.
    """
    lines = (device / "iommu_group" / "reserved_regions").read_text().splitlines()
    return [
        (int(first, 16), int(last, 16))
        for first, last, kind in map(str.split, lines)
        if kind != "direct-relaxable"
    ]


def vtd_registers(device: Path) -> tuple[int, int]:
    """The capability and the extended capability register of the device's VT-d IOMMU.

    Source: Documentation/ABI/testing/sysfs-class-iommu-intel-iommu.

    :raises Unsupported: it is behind another kind of IOMMU.
    """
    shown = device / "iommu" / "intel-iommu"
    if not shown.is_dir():
        raise Unsupported(f"{device} is not behind a VT-d IOMMU: there is no {shown}")
    first, second = (int((shown / name).read_text(), 16) for name in ("cap", "ecap"))
    return first, second


def domains_used(device: Path) -> int:
    """How many page tables the device's VT-d IOMMU has in use.

    :raises Unsupported: it is behind another kind of IOMMU.
    """
    vtd_registers(device)
    return int((device / "iommu" / "intel-iommu" / "domains_used").read_text())
