"""Constants that are in no family, and why: by themselves no call of a test has to do with them."""

import re
from collections.abc import Iterator

from vfio_hw.uapi.family import CONSTANTS

#: By what all of the name matches.
BARE: dict[str, str] = {
    r"VFIO_(?:TYPE|BASE)|IOMMUFD_(?:TYPE|CMD_\w+)": "what the numbers of requests are made of",
    r"VFIO_(?:REGION_TYPE_PCI_VENDOR|DEVICE_IOEVENTFD_SIZE|DEVICE_FEATURE|DEVICE_STATE)_MASK"
    r"|VFIO_IRQ_SET_(?:DATA|ACTION)_TYPE_MASK": "the bits in which there are others",
    r"VFIO_(?:PCI|CCW|AP)_NUM_\w+|VFIO_DEVICE_STATE_NR": "how many others there are",
    r"(?:VFIO|KVM)_API_VERSION": "the only answer of a request, which is an item",
    r"VFIO_DEVICE_FEATURE_(?:GET|SET|PROBE)": "an item together with each feature",
    r"VFIO_IRQ_SET_(?:DATA|ACTION)_(?!TYPE_)\w+": "an item together with each interrupt index",
    r"KVM_DEV_VFIO_(?:FILE|GROUP)": "where attributes are, which are items",
    r"KVM_CREATE_DEVICE_TEST": "of KVM's, whatever the device is",
    r"VFIO_DEVICE_STATE_V1_\w+": "of a region that no driver has any more",
    r"VFIO_DEVICE_GFX_LINK_STATE_\w+": "written to a region: tests_hw/display/test_edid.py",
    r"VFIO_PCI_ATOMIC_COMP\d+|VFIO_DEVICE_INFO_ZPCI_FLAG_\w+": "in a capability, which is an item",
    r"IOMMU_VTD_(?:S1|INV_FLAGS)_\w+": "in the data of a kind of page table, which is an item",
    r"IOMMU_HW_INFO_\w+_ERRATA_\w+": "in the data of a kind of IOMMU hardware, which is an item",
}


def bare() -> Iterator[tuple[str, str]]:
    """Each of them, and why."""
    for pattern, why in BARE.items():
        yield from ((name, why) for name in CONSTANTS if re.fullmatch(pattern, name))
