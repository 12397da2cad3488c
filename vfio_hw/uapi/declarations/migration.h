/* linux/vfio.h: migration, by feature and by the older region. */

#define VFIO_REGION_TYPE_MIGRATION_DEPRECATED 3
#define VFIO_REGION_SUBTYPE_MIGRATION_DEPRECATED 1

struct vfio_device_migration_info {
    uint32_t device_state;
    uint32_t reserved;
    uint64_t pending_bytes;
    uint64_t data_offset;
    uint64_t data_size;
};

#define VFIO_DEVICE_STATE_V1_STOP 0
#define VFIO_DEVICE_STATE_V1_RUNNING (1 << 0)
#define VFIO_DEVICE_STATE_V1_SAVING (1 << 1)
#define VFIO_DEVICE_STATE_V1_RESUMING (1 << 2)
#define VFIO_DEVICE_STATE_MASK 0x7

struct vfio_device_feature_migration {
    uint64_t flags;
};

#define VFIO_MIGRATION_STOP_COPY (1 << 0)
#define VFIO_MIGRATION_P2P (1 << 1)
#define VFIO_MIGRATION_PRE_COPY (1 << 2)
#define VFIO_DEVICE_FEATURE_MIGRATION 1

struct vfio_device_feature_mig_state {
    uint32_t device_state;
    int32_t data_fd;
};

#define VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE 2
#define VFIO_DEVICE_STATE_ERROR 0
#define VFIO_DEVICE_STATE_STOP 1
#define VFIO_DEVICE_STATE_RUNNING 2
#define VFIO_DEVICE_STATE_STOP_COPY 3
#define VFIO_DEVICE_STATE_RESUMING 4
#define VFIO_DEVICE_STATE_RUNNING_P2P 5
#define VFIO_DEVICE_STATE_PRE_COPY 6
#define VFIO_DEVICE_STATE_PRE_COPY_P2P 7
#define VFIO_DEVICE_STATE_NR 8

struct vfio_precopy_info {
    uint32_t argsz;
    uint32_t flags;
    uint64_t initial_bytes;
    uint64_t dirty_bytes;
};

#define VFIO_PRECOPY_INFO_REINIT (1 << 0)
#define VFIO_MIG_GET_PRECOPY_INFO _IO(';', 121)

struct vfio_device_feature_mig_data_size {
    uint64_t stop_copy_length;
};

#define VFIO_DEVICE_FEATURE_MIG_DATA_SIZE 9
#define VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 12
