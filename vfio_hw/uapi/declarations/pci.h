/* linux/vfio.h: indices of vfio-pci, hot reset and ioeventfds. */

#define VFIO_PCI_BAR0_REGION_INDEX 0
#define VFIO_PCI_BAR1_REGION_INDEX 1
#define VFIO_PCI_BAR2_REGION_INDEX 2
#define VFIO_PCI_BAR3_REGION_INDEX 3
#define VFIO_PCI_BAR4_REGION_INDEX 4
#define VFIO_PCI_BAR5_REGION_INDEX 5
#define VFIO_PCI_ROM_REGION_INDEX 6
#define VFIO_PCI_CONFIG_REGION_INDEX 7
#define VFIO_PCI_VGA_REGION_INDEX 8
#define VFIO_PCI_NUM_REGIONS 9
#define VFIO_PCI_INTX_IRQ_INDEX 0
#define VFIO_PCI_MSI_IRQ_INDEX 1
#define VFIO_PCI_MSIX_IRQ_INDEX 2
#define VFIO_PCI_ERR_IRQ_INDEX 3
#define VFIO_PCI_REQ_IRQ_INDEX 4
#define VFIO_PCI_NUM_IRQS 5

struct vfio_pci_dependent_device {
    union {
        uint32_t group_id;
        uint32_t devid;
    };
    uint16_t segment;
    uint8_t bus;
    uint8_t devfn;
};

#define VFIO_PCI_DEVID_OWNED 0
/* Unsigned, as the member it is compared with: Python does not convert. */
#define VFIO_PCI_DEVID_NOT_OWNED 0xffffffff

struct vfio_pci_hot_reset_info {
    uint32_t argsz;
    uint32_t flags;
    uint32_t count;
    struct vfio_pci_dependent_device devices[];
};

#define VFIO_PCI_HOT_RESET_FLAG_DEV_ID (1 << 0)
#define VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED (1 << 1)
#define VFIO_DEVICE_GET_PCI_HOT_RESET_INFO _IO(';', 112)

struct vfio_pci_hot_reset {
    uint32_t argsz;
    uint32_t flags;
    uint32_t count;
    int32_t group_fds[];
};

#define VFIO_DEVICE_PCI_HOT_RESET _IO(';', 113)

struct vfio_device_ioeventfd {
    uint32_t argsz;
    uint32_t flags;
    uint64_t offset;
    uint64_t data;
    int32_t fd;
    uint32_t reserved;
};

#define VFIO_DEVICE_IOEVENTFD_8 (1 << 0)
#define VFIO_DEVICE_IOEVENTFD_16 (1 << 1)
#define VFIO_DEVICE_IOEVENTFD_32 (1 << 2)
#define VFIO_DEVICE_IOEVENTFD_64 (1 << 3)
#define VFIO_DEVICE_IOEVENTFD_SIZE_MASK 0xf
#define VFIO_DEVICE_IOEVENTFD _IO(';', 116)
