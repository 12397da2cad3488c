/* linux/kvm.h: virtual machines, as far as VFIO has to do with them. */

#define KVM_API_VERSION 12
#define KVM_GET_API_VERSION _IO(0xAE, 0x00)
#define KVM_CREATE_VM _IO(0xAE, 0x01)
#define KVM_CREATE_DEVICE_TEST 1

struct kvm_create_device {
    uint32_t type;
    uint32_t fd;
    uint32_t flags;
};

struct kvm_device_attr {
    uint32_t flags;
    uint32_t group;
    uint64_t attr;
    uint64_t addr;
};

#define KVM_DEV_VFIO_FILE 1
#define KVM_DEV_VFIO_FILE_ADD 1
#define KVM_DEV_VFIO_FILE_DEL 2
#define KVM_DEV_VFIO_GROUP 1
#define KVM_DEV_VFIO_GROUP_ADD 1
#define KVM_DEV_VFIO_GROUP_DEL 2
#define KVM_DEV_VFIO_GROUP_SET_SPAPR_TCE 3
#define KVM_DEV_TYPE_VFIO 4
#define KVM_CREATE_DEVICE _IOWR(0xAE, 0xe0, struct kvm_create_device)
#define KVM_SET_DEVICE_ATTR _IOW(0xAE, 0xe1, struct kvm_device_attr)
#define KVM_GET_DEVICE_ATTR _IOW(0xAE, 0xe2, struct kvm_device_attr)
#define KVM_HAS_DEVICE_ATTR _IOW(0xAE, 0xe3, struct kvm_device_attr)
