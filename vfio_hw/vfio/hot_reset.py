"""Resetting all functions of a slot or bus at once.

Source: linux/vfio.h, VFIO_DEVICE_PCI_HOT_RESET.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from vfio_hw.uapi import calls, ffi, ioctl, ioctl_errno, lib, struct
from vfio_hw.uapi.families import OWNERS
from vfio_hw.vfio.descriptor import Descriptor, errno_of
from vfio_hw.vfio.device import Device

#: VFIO_PCI_DEVID_NOT_OWNED as the kernel's unsigned member has it.
NOT_OWNED: int = lib.VFIO_PCI_DEVID_NOT_OWNED & 0xFFFFFFFF


@dataclass(frozen=True)
class HotResetInfo:
    """What VFIO_DEVICE_GET_PCI_HOT_RESET_INFO says.

    ``owners`` has by address each function that the reset affects: the number of its group or, with
    VFIO_PCI_HOT_RESET_FLAG_DEV_ID in ``flags``, its id in the iommufd: VFIO_PCI_DEVID_OWNED when
    only its group is known there, :data:`NOT_OWNED` when it is none of ours.
    """

    flags: int
    owners: dict[str, int]


def hot_reset_info(device: Device) -> HotResetInfo:
    """Which functions a hot reset of the device affects.

    :raises KernelRefused: ENODEV when its slot or bus can not be reset, as a root bus; ENOTTY when
        it is no PCI function.
    """
    name, request = "vfio_pci_hot_reset_info", "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO"
    # Without room for them the kernel counts the functions and answers ENOSPC.
    info = struct(name, devices=0)
    ioctl_errno(device.fileno(), request, info)
    info = struct(name, devices=int(info.count))
    ioctl(device.fileno(), request, info, on=device.name)
    owners = {}
    for number in range(info.count):
        one = info.devices[number]
        slot, function = one.devfn >> 3, one.devfn & 7
        owners[f"{one.segment:04x}:{one.bus:02x}:{slot:02x}.{function}"] = int(one.group_id)
    if info.flags & lib.VFIO_PCI_HOT_RESET_FLAG_DEV_ID:
        for owner in owners.values():
            calls.note_items("positive", OWNERS.named(owner))
    return HotResetInfo(int(info.flags), owners)


hot_reset_info_errno = errno_of(hot_reset_info)


def hot_reset(device: Device, groups: Sequence[Descriptor | int] = (), flags: int = 0) -> None:
    """Reset the slot or bus of the device.

    :param groups: the open groups of all functions that it affects; none for a device that was
        opened through its character device, whose iommufd must own them all.
    :raises KernelRefused: EINVAL when a function is affected that we do not own, when a descriptor
        is no group or more are given than there can be, when a character device is given any or
        a device from a group none; EBADF when one is not open; ENODEV and ENOTTY as
        :func:`hot_reset_info`.
    """
    numbers = array("i", [each if isinstance(each, int) else each.fileno() for each in groups])
    request = struct("vfio_pci_hot_reset", flags=flags, count=len(numbers), group_fds=len(numbers))
    ffi.memmove(request.group_fds, numbers.tobytes(), len(numbers) * numbers.itemsize)
    ioctl(device.fileno(), "VFIO_DEVICE_PCI_HOT_RESET", request, on=device.name)


hot_reset_errno = errno_of(hot_reset)
