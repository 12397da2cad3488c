/* linux/vfio.h: groups. */

struct vfio_group_status {
    uint32_t argsz;
    uint32_t flags;
};

#define VFIO_GROUP_FLAGS_VIABLE (1 << 0)
#define VFIO_GROUP_FLAGS_CONTAINER_SET (1 << 1)
#define VFIO_GROUP_GET_STATUS _IO(';', 103)
#define VFIO_GROUP_SET_CONTAINER _IO(';', 104)
#define VFIO_GROUP_UNSET_CONTAINER _IO(';', 105)
#define VFIO_GROUP_GET_DEVICE_FD _IO(';', 106)
