"""Virtual IOMMUs, their devices, queues of events and hardware queues.

Source: linux/iommufd.h, IOMMU_VIOMMU_ALLOC, IOMMU_VDEVICE_ALLOC, IOMMU_VEVENTQ_ALLOC,
IOMMU_HW_QUEUE_ALLOC.
"""

from vfio_hw.uapi import ffi, ioctl, struct
from vfio_hw.vfio.descriptor import Descriptor, errno_of
from vfio_hw.vfio.iommufd_object import IommufdObject, number


def viommu_alloc(
    iommufd: Descriptor, kind: int, device: int, table: IommufdObject | int, data: bytes = b""
) -> IommufdObject:
    """A virtual IOMMU on the hardware in front of a device.

    :param kind: IOMMU_VIOMMU_TYPE_ARM_SMMUV3, ...
    :param table: the page table that is the parent of all that are nested.
    :raises KernelRefused: EOPNOTSUPP for a kind that the hardware is not; ENOENT when there is no
        such device or page table.
    """
    held = ffi.new("uint8_t[]", data)
    request = struct(
        "iommu_viommu_alloc",
        type=kind,
        dev_id=device,
        hwpt_id=number(table),
        data_len=len(data),
        data_uptr=int(ffi.cast("uintptr_t", held)) if data else 0,
    )
    ioctl(iommufd.fileno(), "IOMMU_VIOMMU_ALLOC", request, on=iommufd.name)
    return IommufdObject(iommufd, request.out_viommu_id, "virtual IOMMU")


viommu_alloc_errno = errno_of(viommu_alloc)


def vdevice_alloc(
    iommufd: Descriptor, viommu: IommufdObject | int, device: int, virtual: int
) -> IommufdObject:
    """A device as the virtual IOMMU knows it, by the number ``virtual``.

    :raises KernelRefused: ENOENT when there is no such virtual IOMMU or device, EEXIST when the
        device, or the number, is taken.
    """
    request = struct(
        "iommu_vdevice_alloc", viommu_id=number(viommu), dev_id=device, virt_id=virtual
    )
    ioctl(iommufd.fileno(), "IOMMU_VDEVICE_ALLOC", request, on=iommufd.name)
    return IommufdObject(iommufd, request.out_vdevice_id, "virtual device")


vdevice_alloc_errno = errno_of(vdevice_alloc)


class EventQueue(Descriptor):
    """A queue of at most ``depth`` events of a virtual IOMMU, open; ``id`` is its number.

    :param kind: IOMMU_VEVENTQ_TYPE_ARM_SMMUV3, ...
    :raises KernelRefused: ENOENT when there is no such virtual IOMMU, EOPNOTSUPP for the kind that
        is none, EINVAL for no depth.
    """

    def __init__(
        self, iommufd: Descriptor, viommu: IommufdObject | int, kind: int, depth: int
    ) -> None:
        request = struct(
            "iommu_veventq_alloc", viommu_id=number(viommu), type=kind, veventq_depth=depth
        )
        ioctl(iommufd.fileno(), "IOMMU_VEVENTQ_ALLOC", request, on=iommufd.name)
        self.id = int(request.out_veventq_id)
        super().__init__(request.out_veventq_fd, f"event queue {self.id} of {iommufd.name}")


def hw_queue_alloc(
    iommufd: Descriptor,
    viommu: IommufdObject | int,
    kind: int,
    index: int,
    iova: int,
    length: int,
) -> IommufdObject:
    """A queue in the guest's memory that the hardware reads by itself.

    :param kind: IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV, ...
    :param iova: where it begins, in the parent of the nested page tables.
    :raises KernelRefused: ENOENT when there is no such virtual IOMMU, EOPNOTSUPP for the kind that
        is none, EINVAL for no length, EOVERFLOW for a range that wraps.
    """
    request = struct(
        "iommu_hw_queue_alloc",
        viommu_id=number(viommu),
        type=kind,
        index=index,
        nesting_parent_iova=iova,
        length=length,
    )
    ioctl(iommufd.fileno(), "IOMMU_HW_QUEUE_ALLOC", request, on=iommufd.name)
    return IommufdObject(iommufd, request.out_hw_queue_id, "hardware queue")


hw_queue_alloc_errno = errno_of(hw_queue_alloc)
