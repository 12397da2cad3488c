/* linux/iommufd.h: what the IOMMU hardware says of itself. */

#define IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17 (1 << 0)

struct iommu_hw_info_vtd {
    uint32_t flags;
    uint32_t __reserved;
    uint64_t cap_reg;
    uint64_t ecap_reg;
};

#define IOMMU_HW_INFO_ARM_SMMUV3_ERRATA_REPEAT_TLBI_CFGI (1 << 0)

struct iommu_hw_info_arm_smmuv3 {
    uint32_t flags;
    uint32_t __reserved;
    uint32_t idr[6];
    uint32_t iidr;
    uint32_t aidr;
};

struct iommu_hw_info_tegra241_cmdqv {
    uint32_t flags;
    uint8_t version;
    uint8_t log2vcmdqs;
    uint8_t log2vsids;
    uint8_t __reserved;
};

struct iommu_hw_info_amd {
    uint64_t efr;
    uint64_t efr2;
};

#define IOMMU_HW_INFO_TYPE_NONE 0
#define IOMMU_HW_INFO_TYPE_DEFAULT 0
#define IOMMU_HW_INFO_TYPE_INTEL_VTD 1
#define IOMMU_HW_INFO_TYPE_ARM_SMMUV3 2
#define IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV 3
#define IOMMU_HW_INFO_TYPE_AMD 4
#define IOMMU_HW_CAP_DIRTY_TRACKING (1 << 0)
#define IOMMU_HW_CAP_PCI_PASID_EXEC (1 << 1)
#define IOMMU_HW_CAP_PCI_PASID_PRIV (1 << 2)
#define IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED (1 << 3)
#define IOMMU_HW_INFO_FLAG_INPUT_TYPE (1 << 0)

struct iommu_hw_info {
    uint32_t size;
    uint32_t flags;
    uint32_t dev_id;
    uint32_t data_len;
    uint64_t data_uptr;
    union {
        uint32_t in_data_type;
        uint32_t out_data_type;
    };
    uint8_t out_max_pasid_log2;
    uint8_t __reserved[3];
    uint64_t out_capabilities;
};

#define IOMMU_GET_HW_INFO _IO(';', 0x8a)
