/* linux/vfio.h: logging of a device's DMA. */

struct vfio_device_feature_dma_logging_control {
    uint64_t page_size;
    uint32_t num_ranges;
    uint32_t __reserved;
    uint64_t ranges;
};

struct vfio_device_feature_dma_logging_range {
    uint64_t iova;
    uint64_t length;
};

#define VFIO_DEVICE_FEATURE_DMA_LOGGING_START 6
#define VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP 7

struct vfio_device_feature_dma_logging_report {
    uint64_t iova;
    uint64_t length;
    uint64_t page_size;
    uint64_t bitmap;
};

#define VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT 8
