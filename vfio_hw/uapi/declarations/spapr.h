/* linux/vfio.h: the sPAPR TCE IOMMU and EEH, of POWER machines. */

struct vfio_iommu_spapr_tce_ddw_info {
    uint64_t pgsizes;
    uint32_t max_dynamic_windows_supported;
    uint32_t levels;
};

struct vfio_iommu_spapr_tce_info {
    uint32_t argsz;
    uint32_t flags;
    uint32_t dma32_window_start;
    uint32_t dma32_window_size;
    struct vfio_iommu_spapr_tce_ddw_info ddw;
};

#define VFIO_IOMMU_SPAPR_INFO_DDW (1 << 0)
#define VFIO_IOMMU_SPAPR_TCE_GET_INFO _IO(';', 112)

struct vfio_eeh_pe_err {
    uint32_t type;
    uint32_t func;
    uint64_t addr;
    uint64_t mask;
};

struct vfio_eeh_pe_op {
    uint32_t argsz;
    uint32_t flags;
    uint32_t op;
    union {
        struct vfio_eeh_pe_err err;
    };
};

#define VFIO_EEH_PE_DISABLE 0
#define VFIO_EEH_PE_ENABLE 1
#define VFIO_EEH_PE_UNFREEZE_IO 2
#define VFIO_EEH_PE_UNFREEZE_DMA 3
#define VFIO_EEH_PE_GET_STATE 4
#define VFIO_EEH_PE_STATE_NORMAL 0
#define VFIO_EEH_PE_STATE_RESET 1
#define VFIO_EEH_PE_STATE_STOPPED 2
#define VFIO_EEH_PE_STATE_STOPPED_DMA 4
#define VFIO_EEH_PE_STATE_UNAVAIL 5
#define VFIO_EEH_PE_RESET_DEACTIVATE 5
#define VFIO_EEH_PE_RESET_HOT 6
#define VFIO_EEH_PE_RESET_FUNDAMENTAL 7
#define VFIO_EEH_PE_CONFIGURE 8
#define VFIO_EEH_PE_INJECT_ERR 9
#define VFIO_EEH_PE_OP _IO(';', 121)

struct vfio_iommu_spapr_register_memory {
    uint32_t argsz;
    uint32_t flags;
    uint64_t vaddr;
    uint64_t size;
};

#define VFIO_IOMMU_SPAPR_REGISTER_MEMORY _IO(';', 117)
#define VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY _IO(';', 118)

struct vfio_iommu_spapr_tce_create {
    uint32_t argsz;
    uint32_t flags;
    uint32_t page_shift;
    uint32_t __resv1;
    uint64_t window_size;
    uint32_t levels;
    uint32_t __resv2;
    uint64_t start_addr;
};

#define VFIO_IOMMU_SPAPR_TCE_CREATE _IO(';', 119)

struct vfio_iommu_spapr_tce_remove {
    uint32_t argsz;
    uint32_t flags;
    uint64_t start_addr;
};

#define VFIO_IOMMU_SPAPR_TCE_REMOVE _IO(';', 120)
