/* linux/vfio.h: VFIO_DEVICE_FEATURE and the features without a file of their own. */

struct vfio_device_feature {
    uint32_t argsz;
    uint32_t flags;
    uint8_t data[];
};

#define VFIO_DEVICE_FEATURE_MASK 0xffff
#define VFIO_DEVICE_FEATURE_GET (1 << 16)
#define VFIO_DEVICE_FEATURE_SET (1 << 17)
#define VFIO_DEVICE_FEATURE_PROBE (1 << 18)
#define VFIO_DEVICE_FEATURE _IO(';', 117)
#define VFIO_DEVICE_FEATURE_PCI_VF_TOKEN 0
#define VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY 3

struct vfio_device_low_power_entry_with_wakeup {
    int32_t wakeup_eventfd;
    uint32_t reserved;
};

#define VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP 4
#define VFIO_DEVICE_FEATURE_LOW_POWER_EXIT 5

struct vfio_device_feature_bus_master {
    uint32_t op;
};

#define VFIO_DEVICE_FEATURE_CLEAR_MASTER 0
#define VFIO_DEVICE_FEATURE_SET_MASTER 1
#define VFIO_DEVICE_FEATURE_BUS_MASTER 10
#define VFIO_DEVICE_FEATURE_DMA_BUF 11

struct vfio_region_dma_range {
    uint64_t offset;
    uint64_t length;
};

struct vfio_device_feature_dma_buf {
    uint32_t region_index;
    uint32_t open_flags;
    uint32_t flags;
    uint32_t nr_ranges;
    struct vfio_region_dma_range dma_ranges[];
};

struct vfio_device_feature_zpci_err {
    uint64_t data;
};

#define VFIO_DEVICE_FEATURE_ZPCI_ERROR 13
