"""Hardware page tables of an iommufd, and what the IOMMU says of itself.

Source: linux/iommufd.h, IOMMU_HWPT_* and IOMMU_GET_HW_INFO.
"""

from dataclasses import dataclass

from vfio_hw.uapi import ffi, ioctl, lib, struct
from vfio_hw.vfio.descriptor import Descriptor, errno_of
from vfio_hw.vfio.dma import PAGE
from vfio_hw.vfio.iommufd_object import IommufdObject, number


class Hwpt(IommufdObject):
    """A page table that the IOMMU walks."""

    def __init__(self, iommufd: Descriptor, identity: int) -> None:
        super().__init__(iommufd, identity, "page table")

    def set_dirty_tracking(self, enable: bool = True) -> None:
        """Note which pages are written through it, or do so no more.

        :raises KernelRefused: EOPNOTSUPP when it was not made for that.
        """
        flags = lib.IOMMU_HWPT_DIRTY_TRACKING_ENABLE if enable else 0
        request = struct("iommu_hwpt_set_dirty_tracking", hwpt_id=self.id, flags=flags)
        fd = self.iommufd.fileno()
        ioctl(fd, "IOMMU_HWPT_SET_DIRTY_TRACKING", request, on=self.name)

    set_dirty_tracking_errno = errno_of(set_dirty_tracking)

    def dirty_bitmap(
        self, iova: int, length: int, page_size: int = PAGE, *, clear: bool = True
    ) -> bytes:
        """Which pages of the range were written, a bit for each.

        :param clear: forget it after.
        :raises KernelRefused: EINVAL for a range that is empty or not aligned to the page size,
            EOVERFLOW for one that wraps, EOPNOTSUPP when the table was not made for that.
        """
        words = ffi.new("uint64_t[]", max(1, -(-min(length, 1 << 30) // (PAGE * 64))))
        request = struct(
            "iommu_hwpt_get_dirty_bitmap",
            hwpt_id=self.id,
            flags=0 if clear else lib.IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR,
            iova=iova,
            length=length,
            page_size=page_size,
            data=int(ffi.cast("uintptr_t", words)),
        )
        ioctl(self.iommufd.fileno(), "IOMMU_HWPT_GET_DIRTY_BITMAP", request, on=self.name)
        return bytes(ffi.buffer(words))

    dirty_bitmap_errno = errno_of(dirty_bitmap)

    def invalidate(self, kind: int, entries: bytes = b"", entry_len: int = 1) -> int:
        """Forget what is cached of a nested table; returns how many entries were handled.

        :param kind: IOMMU_HWPT_INVALIDATE_DATA_VTD_S1, ...
        :param entries: of ``entry_len`` bytes each, as the kind has them.
        :raises KernelRefused: EINVAL for a table that is not nested.
        """
        data = ffi.new("uint8_t[]", entries)
        request = struct(
            "iommu_hwpt_invalidate",
            hwpt_id=self.id,
            data_type=kind,
            data_uptr=int(ffi.cast("uintptr_t", data)),
            entry_len=entry_len,
            entry_num=len(entries) // entry_len,
        )
        ioctl(self.iommufd.fileno(), "IOMMU_HWPT_INVALIDATE", request, on=self.name)
        return int(request.entry_num)

    invalidate_errno = errno_of(invalidate)


def hwpt_alloc(
    iommufd: Descriptor,
    device: int,
    table: IommufdObject | int,
    flags: int = 0,
    *,
    kind: int = lib.IOMMU_HWPT_DATA_NONE,
    data: bytes = b"",
    fault: int = 0,
) -> Hwpt:
    """A new page table for a device, with the mappings of an address space, or nested in another.

    :param device: its number, from :meth:`Cdev.bind_iommufd`.
    :param table: the address space; the parent of a nested one.
    :param flags: IOMMU_HWPT_ALLOC_NEST_PARENT, _DIRTY_TRACKING, _PASID, IOMMU_HWPT_FAULT_ID_VALID.
    :param kind: IOMMU_HWPT_DATA_VTD_S1, ... of a nested one, to which ``data`` belong.
    :param fault: the number of its queue of faults.
    :raises KernelRefused: EOPNOTSUPP for what the IOMMU can not, or flags that are none; ENOENT
        when there is no such object; EINVAL for a kind without data, or data without a kind.
    """
    held = ffi.new("uint8_t[]", data)
    request = struct(
        "iommu_hwpt_alloc",
        flags=flags,
        dev_id=device,
        pt_id=number(table),
        data_type=kind,
        data_len=len(data),
        data_uptr=int(ffi.cast("uintptr_t", held)) if data else 0,
        fault_id=fault,
    )
    ioctl(iommufd.fileno(), "IOMMU_HWPT_ALLOC", request, on=iommufd.name)
    return Hwpt(iommufd, request.out_hwpt_id)


hwpt_alloc_errno = errno_of(hwpt_alloc)


@dataclass(frozen=True)
class HwInfo:
    """What IOMMU_GET_HW_INFO says.

    ``kind`` tells what ``data`` are (IOMMU_HW_INFO_TYPE_INTEL_VTD: a struct iommu_hw_info_vtd), of
    which the kernel knows ``length`` bytes; ``pasid_width`` is in bits, 0 when there are no PASIDs.
    """

    kind: int
    data: bytes
    length: int
    capabilities: int
    pasid_width: int


def hw_info(iommufd: Descriptor, device: int, *, room: int = 64, kind: int | None = None) -> HwInfo:
    """What the IOMMU in front of a device is.

    :param room: bytes of data; what the kernel has not is zero.
    :param kind: ask for this one.
    :raises KernelRefused: ENOENT when the number is not of a device that has an IOMMU; EOPNOTSUPP
        for a kind that the IOMMU is not.
    """
    data = ffi.new("uint8_t[]", b"\xff" * room)
    request = struct(
        "iommu_hw_info",
        dev_id=device,
        data_len=room,
        data_uptr=int(ffi.cast("uintptr_t", data)),
    )
    if kind is not None:
        request.flags, request.in_data_type = lib.IOMMU_HW_INFO_FLAG_INPUT_TYPE, kind
    ioctl(iommufd.fileno(), "IOMMU_GET_HW_INFO", request, on=iommufd.name)
    return HwInfo(
        request.out_data_type,
        bytes(ffi.buffer(data, room)),
        request.data_len,
        request.out_capabilities,
        request.out_max_pasid_log2,
    )


hw_info_errno = errno_of(hw_info)
