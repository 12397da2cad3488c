"""What sysfs says of the IOMMU in front of a device."""

from pathlib import Path

from vfio_hw.errors import Unsupported
from vfio_hw.host.pci import shown_config
from vfio_hw.host.sysfs import attribute

#: Bits of VT-d's extended capability register: nested translation, scalable mode, and dirty bits
#: in second-stage page tables. Source: Intel VT-d specification, 11.4.3.
ECAP_NEST, ECAP_SMTS, ECAP_SLADS = 1 << 26, 1 << 43, 1 << 45
#: Ids of PCI Express extended capabilities. Source: linux/pci_regs.h.
EXTENDED_ATS, EXTENDED_PRI, EXTENDED_PASID = 0x0F, 0x13, 0x1B


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


def amd_features(device: Path) -> tuple[int, int]:
    """The two extended feature registers of the device's AMD IOMMU.

    Source: Documentation/ABI/testing/sysfs-class-iommu-amd-iommu.

    :raises Unsupported: it is behind another kind of IOMMU.
    """
    shown = device / "iommu" / "amd-iommu" / "features"
    if not shown.exists():
        raise Unsupported(f"{device} is not behind an AMD IOMMU: there is no {shown}")
    first, _, second = shown.read_text().partition(":")
    return int(first, 16), int(second or "0", 16)


def interrupts_remapped() -> bool:
    """Whether the IOMMU checks what interrupts a device sends, as /proc/interrupts has it.

    The chips of remapped interrupts have names of their own (IR-IO-APIC, IR-PCI-MSI).
    """
    return " IR-" in (attribute(Path("/proc/interrupts")) or "")


def domains_used(device: Path) -> int:
    """How many page tables the device's VT-d IOMMU has in use.

    :raises Unsupported: it is behind another kind of IOMMU.
    """
    vtd_registers(device)
    return int((device / "iommu" / "intel-iommu" / "domains_used").read_text())


def extended_capabilities(device: Path) -> set[int]:
    """The ids of the PCI Express extended capabilities of the function in this sysfs directory."""
    config = shown_config(device)
    found: set[int] = set()
    offset = 0x100
    while 0 < offset < len(config):
        header = int.from_bytes(config[offset : offset + 4], "little")
        if header in (0, 0xFFFFFFFF):
            break
        found.add(header & 0xFFFF)
        # They come in any order; one that was seen before is no way on.
        config = config[:offset] + bytes(4) + config[offset + 4 :]
        offset = header >> 20
    return found
