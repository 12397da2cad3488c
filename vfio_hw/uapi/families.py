"""Families of constants: names of the headers of which a member of a request holds one, or some.

Taken from the declarations. A constant that is declared anew with such a name is in its family at
once; one that begins a new family needs an entry here.
"""

import functools
import operator
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vfio_hw.uapi import ffi, lib


@dataclass(frozen=True)
class Family:
    """Constants of which a member of a request holds one, or as bits several.

    :param names: what all of the constant's name matches.
    :param where: request, its struct and the member; both "" when the argument is the number.
    :param mask: the bits of the member that are the number.
    """

    title: str
    names: str
    where: tuple[tuple[str, str, str], ...]
    mask: int = -1
    bits: bool = False
    values: dict[str, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        pattern = re.compile(self.names)
        self.values.update({n: getattr(lib, n) for n in _CONSTANTS if pattern.fullmatch(n)})

    def named(self, value: int) -> Iterator[str]:
        """The constants that a value of the member stands for.

        Of bits: none, where there are others among them; what is refused then is the others.
        """
        if self.bits and value & ~functools.reduce(operator.or_, self.values.values(), 0):
            return
        for name, own in self.values.items():
            # Of devices that are not PCI: the same numbers, for other things.
            if not name.startswith(("VFIO_CCW_", "VFIO_AP_")) and (
                value & own if self.bits else value & self.mask == own
            ):
                yield name


def _embedded(text: Any) -> tuple[str, ...]:
    return tuple(os.fsdecode(ffi.string(text)).split())


_CONSTANTS = _embedded(lib.VFIO_HW_CONSTANTS)
REQUESTS: Mapping[str, int] = {name: getattr(lib, name) for name in _embedded(lib.VFIO_HW_REQUESTS)}

FEATURE, SET_IRQS = "VFIO_DEVICE_FEATURE", "VFIO_DEVICE_SET_IRQS"
KVM = tuple(
    (f"KVM_{verb}_DEVICE_ATTR", "kvm_device_attr", "attr") for verb in ("SET", "GET", "HAS")
)
_IOAS_FLAGS = (
    ("IOMMU_IOAS_MAP", "iommu_ioas_map", "flags"),
    ("IOMMU_IOAS_MAP_FILE", "iommu_ioas_map_file", "flags"),
    ("IOMMU_IOAS_COPY", "iommu_ioas_copy", "flags"),
)

FEATURES = Family(
    "Features",
    rf"{FEATURE}_(?!(?:MASK|GET|SET|PROBE|CLEAR_MASTER|SET_MASTER)$)\w+",
    ((FEATURE, "vfio_device_feature", "flags"),),
    mask=lib.VFIO_DEVICE_FEATURE_MASK,
)
IRQS = Family(
    "Interrupt indices",
    r"VFIO_(?:PCI|CCW|AP)_\w+_IRQ_INDEX",
    (
        ("VFIO_DEVICE_GET_IRQ_INFO", "vfio_irq_info", "index"),
        (SET_IRQS, "vfio_irq_set", "index"),
    ),
)
#: Of the states of today's protocol; a device says in which it is, so no request names them.
STATES = Family("States of migration", r"VFIO_DEVICE_STATE_(?!V1_|MASK$|NR$)\w+", ())
FAMILIES = (
    Family(
        "Extensions and IOMMU types",
        r"_*VFIO_\w+_IOMMU|VFIO_EEH|VFIO_UNMAP_ALL|VFIO_UPDATE_VADDR",
        (("VFIO_CHECK_EXTENSION", "", ""), ("VFIO_SET_IOMMU", "", "")),
    ),
    Family(
        "Flags of devices",
        r"VFIO_DEVICE_FLAGS_\w+",
        (("VFIO_DEVICE_GET_INFO", "vfio_device_info", "flags"),),
        bits=True,
    ),
    Family(
        "Region indices",
        r"VFIO_(?:PCI|CCW)_\w+_REGION_INDEX",
        (("VFIO_DEVICE_GET_REGION_INFO", "vfio_region_info", "index"),),
    ),
    IRQS,
    FEATURES,
    Family("Attributes of KVM's VFIO device", r"KVM_DEV_VFIO_(?:FILE|GROUP)_\w+", KVM),
    Family(
        "Options of an iommufd",
        r"IOMMU_OPTION_(?!OP_)\w+",
        (("IOMMU_OPTION", "iommu_option", "option_id"),),
    ),
    Family(
        "What IOMMU_VFIO_IOAS does",
        r"IOMMU_VFIO_IOAS_\w+",
        (("IOMMU_VFIO_IOAS", "iommu_vfio_ioas", "op"),),
    ),
    Family(
        "Kinds of hardware page tables",
        r"IOMMU_HWPT_DATA_\w+",
        (("IOMMU_HWPT_ALLOC", "iommu_hwpt_alloc", "data_type"),),
    ),
    Family(
        "Kinds of IOMMU hardware",
        r"IOMMU_HW_INFO_TYPE_\w+",
        (("IOMMU_GET_HW_INFO", "iommu_hw_info", "out_data_type"),),
    ),
    Family(
        "Flags of mappings",
        r"VFIO_DMA_MAP_FLAG_\w+",
        (("VFIO_IOMMU_MAP_DMA", "vfio_iommu_type1_dma_map", "flags"),),
        bits=True,
    ),
    Family(
        "Flags of unmapping",
        r"VFIO_DMA_UNMAP_FLAG_\w+",
        (("VFIO_IOMMU_UNMAP_DMA", "vfio_iommu_type1_dma_unmap", "flags"),),
        bits=True,
    ),
    Family(
        "Flags of dirty pages",
        r"VFIO_IOMMU_DIRTY_PAGES_FLAG_\w+",
        (("VFIO_IOMMU_DIRTY_PAGES", "vfio_iommu_type1_dirty_bitmap", "flags"),),
        bits=True,
    ),
    Family(
        "Flags of mappings in an IOAS",
        r"IOMMU_IOAS_MAP_(?!FILE$)\w+",
        _IOAS_FLAGS,
        bits=True,
    ),
    Family(
        "Flags of hardware page tables",
        r"IOMMU_HWPT_ALLOC_\w+|IOMMU_HWPT_FAULT_ID_VALID",
        (("IOMMU_HWPT_ALLOC", "iommu_hwpt_alloc", "flags"),),
        bits=True,
    ),
    Family(
        "Widths of ioeventfds",
        r"VFIO_DEVICE_IOEVENTFD_\d+",
        (("VFIO_DEVICE_IOEVENTFD", "vfio_device_ioeventfd", "flags"),),
        bits=True,
    ),
    Family(
        "Kinds of planes",
        r"VFIO_GFX_PLANE_TYPE_\w+",
        (("VFIO_DEVICE_QUERY_GFX_PLANE", "vfio_device_gfx_plane_info", "flags"),),
        bits=True,
    ),
)

_CAPABILITIES = {
    "VFIO_DEVICE_GET_INFO": r"VFIO_DEVICE_INFO_CAP_\w+",
    "VFIO_DEVICE_GET_REGION_INFO": r"VFIO_REGION_INFO_CAP_\w+",
    "VFIO_IOMMU_GET_INFO": r"VFIO_IOMMU_TYPE1_INFO_(?:CAP_\w+|DMA_AVAIL)",
}
FOUND = {
    request: Family(f"Capabilities in {request}", names, ())
    for request, names in _CAPABILITIES.items()
}
TYPES = Family("Region types", r"VFIO_REGION_TYPE_(?!PCI_VENDOR_MASK$)\w+", ())
SUBTYPES = Family("Region subtypes", r"VFIO_REGION_SUBTYPE_\w+", ())
