/* linux/iommufd.h: command numbers, objects and options. */

#define IOMMUFD_TYPE ';'
#define IOMMUFD_CMD_BASE 0x80
#define IOMMUFD_CMD_DESTROY 0x80
#define IOMMUFD_CMD_IOAS_ALLOC 0x81
#define IOMMUFD_CMD_IOAS_ALLOW_IOVAS 0x82
#define IOMMUFD_CMD_IOAS_COPY 0x83
#define IOMMUFD_CMD_IOAS_IOVA_RANGES 0x84
#define IOMMUFD_CMD_IOAS_MAP 0x85
#define IOMMUFD_CMD_IOAS_UNMAP 0x86
#define IOMMUFD_CMD_OPTION 0x87
#define IOMMUFD_CMD_VFIO_IOAS 0x88
#define IOMMUFD_CMD_HWPT_ALLOC 0x89
#define IOMMUFD_CMD_GET_HW_INFO 0x8a
#define IOMMUFD_CMD_HWPT_SET_DIRTY_TRACKING 0x8b
#define IOMMUFD_CMD_HWPT_GET_DIRTY_BITMAP 0x8c
#define IOMMUFD_CMD_HWPT_INVALIDATE 0x8d
#define IOMMUFD_CMD_FAULT_QUEUE_ALLOC 0x8e
#define IOMMUFD_CMD_IOAS_MAP_FILE 0x8f
#define IOMMUFD_CMD_VIOMMU_ALLOC 0x90
#define IOMMUFD_CMD_VDEVICE_ALLOC 0x91
#define IOMMUFD_CMD_IOAS_CHANGE_PROCESS 0x92
#define IOMMUFD_CMD_VEVENTQ_ALLOC 0x93
#define IOMMUFD_CMD_HW_QUEUE_ALLOC 0x94
#define IOMMUFD_CMD_IOAS_NOIOMMU_GET_PA 0x95

struct iommu_destroy {
    uint32_t size;
    uint32_t id;
};

#define IOMMU_DESTROY _IO(';', 0x80)
#define IOMMU_OPTION_RLIMIT_MODE 0
#define IOMMU_OPTION_HUGE_PAGES 1
#define IOMMU_OPTION_OP_SET 0
#define IOMMU_OPTION_OP_GET 1

struct iommu_option {
    uint32_t size;
    uint32_t option_id;
    uint16_t op;
    uint16_t __reserved;
    uint32_t object_id;
    uint64_t val64;
};

#define IOMMU_OPTION _IO(';', 0x87)
