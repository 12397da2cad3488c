"""An eventfd whose signal makes the kernel write to the device.

Source: linux/vfio.h, VFIO_DEVICE_IOEVENTFD.
"""

from vfio_hw.uapi import ioctl, lib, struct
from vfio_hw.vfio.descriptor import Descriptor, errno_of
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.region import Region

#: The flag for each width in bytes.
WIDTHS: dict[int, int] = {
    1: lib.VFIO_DEVICE_IOEVENTFD_8,
    2: lib.VFIO_DEVICE_IOEVENTFD_16,
    4: lib.VFIO_DEVICE_IOEVENTFD_32,
    8: lib.VFIO_DEVICE_IOEVENTFD_64,
}


def set_ioeventfd(device: Device, flags: int, offset: int, data: int, fd: int) -> None:
    """VFIO_DEVICE_IOEVENTFD, as it is.

    :param offset: from the start of the device's descriptor, not of a region.
    :param fd: an eventfd; -1 takes the one away that does the same write.
    :raises KernelRefused: EINVAL for flags, places and numbers that are none; EEXIST when the same
        write is assigned; ENODEV when there is none to take away; ENOSPC when there are too many;
        EBADF or EINVAL when ``fd`` is no eventfd; ENOTTY when the device can not do it.
    """
    request = struct("vfio_device_ioeventfd", flags=flags, offset=offset, data=data, fd=fd)
    ioctl(device.fileno(), "VFIO_DEVICE_IOEVENTFD", request, on=device.name)


set_ioeventfd_errno = errno_of(set_ioeventfd)


def assign(
    device: Device, region: Region, offset: int, width: int, data: int, eventfd: Descriptor
) -> None:
    """Let each signal of the eventfd write ``data``, ``width`` bytes, to the region's register.

    :raises KernelRefused: as :func:`set_ioeventfd`.
    """
    place = region.offset + offset
    set_ioeventfd(device, WIDTHS[width], place, data, eventfd.fileno())


assign_errno = errno_of(assign)


def deassign(device: Device, region: Region, offset: int, width: int, data: int) -> None:
    """Take away what writes exactly this.

    :raises KernelRefused: ENODEV when nothing does.
    """
    set_ioeventfd(device, WIDTHS[width], region.offset + offset, data, -1)


deassign_errno = errno_of(deassign)
