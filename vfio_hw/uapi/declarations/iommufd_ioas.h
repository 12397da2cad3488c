/* linux/iommufd.h: IO address spaces. */

struct iommu_ioas_alloc {
    uint32_t size;
    uint32_t flags;
    uint32_t out_ioas_id;
};

#define IOMMU_IOAS_ALLOC _IO(';', 0x81)

struct iommu_iova_range {
    uint64_t start;
    uint64_t last;
};

struct iommu_ioas_iova_ranges {
    uint32_t size;
    uint32_t ioas_id;
    uint32_t num_iovas;
    uint32_t __reserved;
    uint64_t allowed_iovas;
    uint64_t out_iova_alignment;
};

#define IOMMU_IOAS_IOVA_RANGES _IO(';', 0x84)

struct iommu_ioas_allow_iovas {
    uint32_t size;
    uint32_t ioas_id;
    uint32_t num_iovas;
    uint32_t __reserved;
    uint64_t allowed_iovas;
};

#define IOMMU_IOAS_ALLOW_IOVAS _IO(';', 0x82)
#define IOMMU_IOAS_MAP_FIXED_IOVA (1 << 0)
#define IOMMU_IOAS_MAP_WRITEABLE (1 << 1)
#define IOMMU_IOAS_MAP_READABLE (1 << 2)

struct iommu_ioas_map {
    uint32_t size;
    uint32_t flags;
    uint32_t ioas_id;
    uint32_t __reserved;
    uint64_t user_va;
    uint64_t length;
    uint64_t iova;
};

#define IOMMU_IOAS_MAP _IO(';', 0x85)

struct iommu_ioas_noiommu_get_pa {
    uint32_t size;
    uint32_t flags;
    uint32_t ioas_id;
    uint32_t __reserved;
    uint64_t iova;
    uint64_t length;
    uint64_t out_phys;
};

#define IOMMU_IOAS_NOIOMMU_GET_PA _IO(';', 0x95)

struct iommu_ioas_map_file {
    uint32_t size;
    uint32_t flags;
    uint32_t ioas_id;
    int32_t fd;
    uint64_t start;
    uint64_t length;
    uint64_t iova;
};

#define IOMMU_IOAS_MAP_FILE _IO(';', 0x8f)

struct iommu_ioas_copy {
    uint32_t size;
    uint32_t flags;
    uint32_t dst_ioas_id;
    uint32_t src_ioas_id;
    uint64_t length;
    uint64_t dst_iova;
    uint64_t src_iova;
};

#define IOMMU_IOAS_COPY _IO(';', 0x83)

struct iommu_ioas_unmap {
    uint32_t size;
    uint32_t ioas_id;
    uint64_t iova;
    uint64_t length;
};

#define IOMMU_IOAS_UNMAP _IO(';', 0x86)
#define IOMMU_VFIO_IOAS_GET 0
#define IOMMU_VFIO_IOAS_SET 1
#define IOMMU_VFIO_IOAS_CLEAR 2

struct iommu_vfio_ioas {
    uint32_t size;
    uint32_t ioas_id;
    uint16_t op;
    uint16_t __reserved;
};

#define IOMMU_VFIO_IOAS _IO(';', 0x88)

struct iommu_ioas_change_process {
    uint32_t size;
    uint32_t __reserved;
};

#define IOMMU_IOAS_CHANGE_PROCESS _IO(';', 0x92)
