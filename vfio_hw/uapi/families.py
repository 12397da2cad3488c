"""Families of constants, but for those of iommufd: which members of which requests hold them.

A constant that is declared anew is in its family at once. One that begins a new family needs an
entry here; one that says nothing by itself, or that no call shows, is in :mod:`vfio_hw.uapi.bare`.
"""

from vfio_hw.uapi import lib
from vfio_hw.uapi.families_iommufd import IOMMUFD
from vfio_hw.uapi.family import Family

FEATURE, SET_IRQS = "VFIO_DEVICE_FEATURE", "VFIO_DEVICE_SET_IRQS"
KVM = tuple(
    (f"KVM_{verb}_DEVICE_ATTR", "kvm_device_attr", "attr") for verb in ("SET", "GET", "HAS")
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
#: Told by :func:`vfio_hw.vfio.hot_reset.hot_reset_info`, which reads the array that they are in.
OWNERS = Family("Owners of what a hot reset affects", r"VFIO_PCI_DEVID_\w+")
#: By the number of a feature the family of what its data begin with.
BY_FEATURE = {
    lib.VFIO_DEVICE_FEATURE_MIGRATION: Family(
        "What migration can do", r"VFIO_MIGRATION_\w+", bits=True
    ),
    lib.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE: Family(
        "States of migration", r"VFIO_DEVICE_STATE_(?!V1_|MASK$|NR$)\w+"
    ),
    lib.VFIO_DEVICE_FEATURE_BUS_MASTER: Family(
        "What becomes of a bus master", rf"{FEATURE}_(?:CLEAR|SET)_MASTER"
    ),
}
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
    Family(
        "Flags of groups",
        r"VFIO_GROUP_FLAGS_\w+",
        (("VFIO_GROUP_GET_STATUS", "vfio_group_status", "flags"),),
        bits=True,
    ),
    Family(
        "Flags of regions",
        r"VFIO_REGION_INFO_FLAG_\w+",
        (("VFIO_DEVICE_GET_REGION_INFO", "vfio_region_info", "flags"),),
        bits=True,
    ),
    Family(
        "Flags of interrupts",
        r"VFIO_IRQ_INFO_\w+",
        (("VFIO_DEVICE_GET_IRQ_INFO", "vfio_irq_info", "flags"),),
        bits=True,
    ),
    Family(
        "Flags of hot resets",
        r"VFIO_PCI_HOT_RESET_FLAG_\w+",
        (("VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", "vfio_pci_hot_reset_info", "flags"),),
        bits=True,
    ),
    Family(
        "Flags of binding",
        r"VFIO_DEVICE_BIND_FLAG_\w+",
        (("VFIO_DEVICE_BIND_IOMMUFD", "vfio_device_bind_iommufd", "flags"),),
        bits=True,
    ),
    Family(
        "Flags of attaching",
        r"VFIO_DEVICE_ATTACH_PASID",
        (("VFIO_DEVICE_ATTACH_IOMMUFD_PT", "vfio_device_attach_iommufd_pt", "flags"),),
        bits=True,
    ),
    Family(
        "Flags of detaching",
        r"VFIO_DEVICE_DETACH_PASID",
        (("VFIO_DEVICE_DETACH_IOMMUFD_PT", "vfio_device_detach_iommufd_pt", "flags"),),
        bits=True,
    ),
    Family(
        "Flags of what is left to be read",
        r"VFIO_PRECOPY_INFO_\w+",
        (("VFIO_MIG_GET_PRECOPY_INFO", "vfio_precopy_info", "flags"),),
        bits=True,
    ),
    Family(
        "Flags of a Type1 IOMMU",
        r"VFIO_IOMMU_INFO_\w+",
        (("VFIO_IOMMU_GET_INFO", "vfio_iommu_type1_info", "flags"),),
        bits=True,
    ),
    Family(
        "Kinds of KVM's devices",
        r"KVM_DEV_TYPE_\w+",
        (("KVM_CREATE_DEVICE", "kvm_create_device", "type"),),
    ),
    Family("What POWER machines do about errors", r"VFIO_EEH_PE_\w+"),
    Family("Flags of POWER's IOMMU", r"VFIO_IOMMU_SPAPR_INFO_\w+"),
    *IOMMUFD,
    OWNERS,
    *BY_FEATURE.values(),
)

_CAPABILITIES = {
    "VFIO_DEVICE_GET_INFO": r"VFIO_DEVICE_INFO_CAP_\w+",
    "VFIO_DEVICE_GET_REGION_INFO": r"VFIO_REGION_INFO_CAP_\w+",
    "VFIO_IOMMU_GET_INFO": r"VFIO_IOMMU_TYPE1_INFO_(?:CAP_\w+|DMA_AVAIL)",
}
FOUND = {
    request: Family(f"Capabilities in {request}", names) for request, names in _CAPABILITIES.items()
}
TYPES = Family("Region types", r"VFIO_REGION_TYPE_(?!PCI_VENDOR_MASK$)\w+")
SUBTYPES = Family("Region subtypes", r"VFIO_REGION_SUBTYPE_\w+")
