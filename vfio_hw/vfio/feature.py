"""VFIO_DEVICE_FEATURE, and the features that need no more than a few bytes.

Source: linux/vfio.h, VFIO_DEVICE_FEATURE and the comments of each feature.
"""

from uuid import UUID

from vfio_hw.uapi import ffi, ioctl, lib, struct
from vfio_hw.vfio.descriptor import Descriptor, errno_of
from vfio_hw.vfio.device import Device

GET: int = lib.VFIO_DEVICE_FEATURE_GET
SET: int = lib.VFIO_DEVICE_FEATURE_SET
PROBE: int = lib.VFIO_DEVICE_FEATURE_PROBE


def feature(device: Device, flags: int, data: bytes = b"") -> tuple[int, bytes]:
    """VFIO_DEVICE_FEATURE, as it is; returns its result and the data as the kernel left them.

    :param flags: the number of the feature, and what to do: GET, SET, PROBE.
    :raises KernelRefused: ENOTTY when the device has no such feature; EINVAL when it can not be
        got or set, or the data are too few.
    """
    request = struct("vfio_device_feature", flags=flags, data=data)
    result = ioctl(device.fileno(), "VFIO_DEVICE_FEATURE", request, on=device.name)
    return result, bytes(ffi.buffer(request.data, len(data)))


feature_errno = errno_of(feature)


def set_vf_token(device: Device, token: UUID) -> None:
    """From now on this token opens the virtual functions of a physical one.

    :raises KernelRefused: ENOTTY when the device is no function that has virtual ones.
    """
    feature(device, SET | lib.VFIO_DEVICE_FEATURE_PCI_VF_TOKEN, token.bytes)


set_vf_token_errno = errno_of(set_vf_token)


def enter_low_power(device: Device) -> None:
    """Let the device sleep whenever it is not accessed; its mapped regions can not be used.

    :raises KernelRefused: EINVAL when that was allowed before.
    """
    feature(device, lib.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY | SET)


enter_low_power_errno = errno_of(enter_low_power)


def enter_low_power_once(device: Device, wakeup: Descriptor | int) -> None:
    """Let the device sleep until it is accessed, which ``wakeup`` then tells.

    :param wakeup: an eventfd, or the number of any descriptor.
    :raises KernelRefused: EINVAL as for :func:`enter_low_power`; EBADF or EINVAL when ``wakeup`` is
        no eventfd.
    """
    number = wakeup if isinstance(wakeup, int) else wakeup.fileno()
    entry = struct("vfio_device_low_power_entry_with_wakeup", wakeup_eventfd=number)
    flags = lib.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP | SET
    feature(device, flags, bytes(ffi.buffer(entry)))


enter_low_power_once_errno = errno_of(enter_low_power_once)


def exit_low_power(device: Device) -> None:
    """Wake the device, and keep it awake; nothing happens when it is."""
    feature(device, lib.VFIO_DEVICE_FEATURE_LOW_POWER_EXIT | SET)


exit_low_power_errno = errno_of(exit_low_power)
