"""Families of constants of iommufd: which members of which requests hold them.

Source: linux/iommufd.h.
"""

from vfio_hw.uapi.family import Family

_IOAS_FLAGS = (
    ("IOMMU_IOAS_MAP", "iommu_ioas_map", "flags"),
    ("IOMMU_IOAS_MAP_FILE", "iommu_ioas_map_file", "flags"),
    ("IOMMU_IOAS_COPY", "iommu_ioas_copy", "flags"),
)
#: Told by :meth:`vfio_hw.vfio.fault.FaultQueue.respond`: they are written, not given to an ioctl.
RESPONSES = Family("Answers to page faults", r"IOMMUFD_PAGE_RESP_\w+")
IOMMUFD = (
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
        "Whether an option is set or got",
        r"IOMMU_OPTION_OP_\w+",
        (("IOMMU_OPTION", "iommu_option", "op"),),
    ),
    Family(
        "What IOMMU hardware can do",
        r"IOMMU_HW_CAP_\w+",
        (("IOMMU_GET_HW_INFO", "iommu_hw_info", "out_capabilities"),),
        bits=True,
    ),
    Family(
        "Flags of what is asked of IOMMU hardware",
        r"IOMMU_HW_INFO_FLAG_\w+",
        (("IOMMU_GET_HW_INFO", "iommu_hw_info", "flags"),),
        bits=True,
    ),
    Family(
        "Flags of dirty tracking",
        r"IOMMU_HWPT_DIRTY_TRACKING_\w+",
        (("IOMMU_HWPT_SET_DIRTY_TRACKING", "iommu_hwpt_set_dirty_tracking", "flags"),),
        bits=True,
    ),
    Family(
        "Flags of dirty bitmaps",
        r"IOMMU_HWPT_GET_DIRTY_BITMAP_\w+",
        (("IOMMU_HWPT_GET_DIRTY_BITMAP", "iommu_hwpt_get_dirty_bitmap", "flags"),),
        bits=True,
    ),
    Family(
        "Kinds of what is invalidated",
        r"IOMMU_(?:HWPT|VIOMMU)_INVALIDATE_DATA_\w+",
        (("IOMMU_HWPT_INVALIDATE", "iommu_hwpt_invalidate", "data_type"),),
    ),
    Family(
        "Kinds of virtual IOMMUs",
        r"IOMMU_VIOMMU_TYPE_\w+",
        (("IOMMU_VIOMMU_ALLOC", "iommu_viommu_alloc", "type"),),
    ),
    Family(
        "Kinds of queues of events",
        r"IOMMU_VEVENTQ_TYPE_\w+",
        (("IOMMU_VEVENTQ_ALLOC", "iommu_veventq_alloc", "type"),),
    ),
    Family(
        "Kinds of hardware queues",
        r"IOMMU_HW_QUEUE_TYPE_\w+",
        (("IOMMU_HW_QUEUE_ALLOC", "iommu_hw_queue_alloc", "type"),),
    ),
    Family("Flags of events", r"IOMMU_VEVENTQ_FLAG_\w+"),
    Family("Flags of page faults", r"IOMMU_PGFAULT_\w+"),
    RESPONSES,
)
