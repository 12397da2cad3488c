/* linux/iommufd.h: hardware page tables. */

#define IOMMU_HWPT_ALLOC_NEST_PARENT (1 << 0)
#define IOMMU_HWPT_ALLOC_DIRTY_TRACKING (1 << 1)
#define IOMMU_HWPT_FAULT_ID_VALID (1 << 2)
#define IOMMU_HWPT_ALLOC_PASID (1 << 3)
#define IOMMU_VTD_S1_SRE (1 << 0)
#define IOMMU_VTD_S1_EAFE (1 << 1)
#define IOMMU_VTD_S1_WPE (1 << 2)

struct iommu_hwpt_vtd_s1 {
    uint64_t flags;
    uint64_t pgtbl_addr;
    uint32_t addr_width;
    uint32_t __reserved;
};

struct iommu_hwpt_arm_smmuv3 {
    uint64_t ste[2];
};

struct iommu_hwpt_amd_guest {
    uint64_t dte[4];
};

#define IOMMU_HWPT_DATA_NONE 0
#define IOMMU_HWPT_DATA_VTD_S1 1
#define IOMMU_HWPT_DATA_ARM_SMMUV3 2
#define IOMMU_HWPT_DATA_AMD_GUEST 3

struct iommu_hwpt_alloc {
    uint32_t size;
    uint32_t flags;
    uint32_t dev_id;
    uint32_t pt_id;
    uint32_t out_hwpt_id;
    uint32_t __reserved;
    uint32_t data_type;
    uint32_t data_len;
    uint64_t data_uptr;
    uint32_t fault_id;
    uint32_t __reserved2;
};

#define IOMMU_HWPT_ALLOC _IO(';', 0x89)
#define IOMMU_HWPT_DIRTY_TRACKING_ENABLE 1

struct iommu_hwpt_set_dirty_tracking {
    uint32_t size;
    uint32_t flags;
    uint32_t hwpt_id;
    uint32_t __reserved;
};

#define IOMMU_HWPT_SET_DIRTY_TRACKING _IO(';', 0x8b)
#define IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR 1

struct iommu_hwpt_get_dirty_bitmap {
    uint32_t size;
    uint32_t hwpt_id;
    uint32_t flags;
    uint32_t __reserved;
    uint64_t iova;
    uint64_t length;
    uint64_t page_size;
    uint64_t data;
};

#define IOMMU_HWPT_GET_DIRTY_BITMAP _IO(';', 0x8c)
#define IOMMU_HWPT_INVALIDATE_DATA_VTD_S1 0
#define IOMMU_VTD_INV_FLAGS_LEAF (1 << 0)

struct iommu_hwpt_vtd_s1_invalidate {
    uint64_t addr;
    uint64_t npages;
    uint32_t flags;
    uint32_t __reserved;
};

struct iommu_hwpt_invalidate {
    uint32_t size;
    uint32_t hwpt_id;
    uint64_t data_uptr;
    uint32_t data_type;
    uint32_t entry_len;
    uint32_t entry_num;
    uint32_t __reserved;
};

#define IOMMU_HWPT_INVALIDATE _IO(';', 0x8d)
