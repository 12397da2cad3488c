/* linux/iommufd.h: IO page faults. */

#define IOMMU_PGFAULT_FLAGS_PASID_VALID (1 << 0)
#define IOMMU_PGFAULT_FLAGS_LAST_PAGE (1 << 1)
#define IOMMU_PGFAULT_PERM_READ (1 << 0)
#define IOMMU_PGFAULT_PERM_WRITE (1 << 1)
#define IOMMU_PGFAULT_PERM_EXEC (1 << 2)
#define IOMMU_PGFAULT_PERM_PRIV (1 << 3)

struct iommu_hwpt_pgfault {
    uint32_t flags;
    uint32_t dev_id;
    uint32_t pasid;
    uint32_t grpid;
    uint32_t perm;
    uint32_t __reserved;
    uint64_t addr;
    uint32_t length;
    uint32_t cookie;
};

#define IOMMUFD_PAGE_RESP_SUCCESS 0
#define IOMMUFD_PAGE_RESP_INVALID 1

struct iommu_hwpt_page_response {
    uint32_t cookie;
    uint32_t code;
};

struct iommu_fault_alloc {
    uint32_t size;
    uint32_t flags;
    uint32_t out_fault_id;
    uint32_t out_fault_fd;
};

#define IOMMU_FAULT_QUEUE_ALLOC _IO(';', 0x8e)
