/* linux/iommufd.h: virtual IOMMUs, their devices, events and queues. */

#define IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3 1

struct iommu_viommu_arm_smmuv3_invalidate {
    uint64_t cmd[2];
};

#define IOMMU_VIOMMU_TYPE_DEFAULT 0
#define IOMMU_VIOMMU_TYPE_ARM_SMMUV3 1
#define IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV 2

struct iommu_viommu_tegra241_cmdqv {
    uint64_t out_vintf_mmap_offset;
    uint64_t out_vintf_mmap_length;
};

struct iommu_viommu_alloc {
    uint32_t size;
    uint32_t flags;
    uint32_t type;
    uint32_t dev_id;
    uint32_t hwpt_id;
    uint32_t out_viommu_id;
    uint32_t data_len;
    uint32_t __reserved;
    uint64_t data_uptr;
};

#define IOMMU_VIOMMU_ALLOC _IO(';', 0x90)

struct iommu_vdevice_alloc {
    uint32_t size;
    uint32_t viommu_id;
    uint32_t dev_id;
    uint32_t out_vdevice_id;
    uint64_t virt_id;
};

#define IOMMU_VDEVICE_ALLOC _IO(';', 0x91)
#define IOMMU_VEVENTQ_FLAG_LOST_EVENTS (1 << 0)

struct iommufd_vevent_header {
    uint32_t flags;
    uint32_t sequence;
};

#define IOMMU_VEVENTQ_TYPE_DEFAULT 0
#define IOMMU_VEVENTQ_TYPE_ARM_SMMUV3 1
#define IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV 2

struct iommu_vevent_arm_smmuv3 {
    uint64_t evt[4];
};

struct iommu_vevent_tegra241_cmdqv {
    uint64_t lvcmdq_err_map[2];
};

struct iommu_veventq_alloc {
    uint32_t size;
    uint32_t flags;
    uint32_t viommu_id;
    uint32_t type;
    uint32_t veventq_depth;
    uint32_t out_veventq_id;
    uint32_t out_veventq_fd;
    uint32_t __reserved;
};

#define IOMMU_VEVENTQ_ALLOC _IO(';', 0x93)
#define IOMMU_HW_QUEUE_TYPE_DEFAULT 0
#define IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV 1

struct iommu_hw_queue_alloc {
    uint32_t size;
    uint32_t flags;
    uint32_t viommu_id;
    uint32_t type;
    uint32_t index;
    uint32_t out_hw_queue_id;
    uint64_t nesting_parent_iova;
    uint64_t length;
};

#define IOMMU_HW_QUEUE_ALLOC _IO(';', 0x94)
