"""What a user does to a VFIO device and what takes it away, as steps of the race engine."""

import os
from dataclasses import dataclass
from pathlib import Path

from vfio_hw.race.program import Slot, Step, close, ioctl, memory, openat, pointer_to, write_file
from vfio_hw.uapi import lib, struct

# How long a user keeps what it got: long enough for others to come upon it often.
HOLD_NS = 1_000_000


@dataclass(frozen=True)
class GroupPath:
    """A group in a container with an IOMMU, ready to give out descriptors of its devices."""

    container: Slot
    group: Slot
    steps: tuple[Step, ...]

    @property
    def closing(self) -> tuple[Step, ...]:
        """Closes both."""
        return close(self.group), close(self.container)


def group_path(number: int) -> GroupPath:
    """Opens a container and group ``number``, and sets the type1v2 IOMMU."""
    container, group = Slot("container"), Slot("group")
    return GroupPath(
        container,
        group,
        (
            openat("/dev/vfio/vfio", os.O_RDWR, into=container),
            openat(f"/dev/vfio/{number}", os.O_RDWR, into=group),
            ioctl(group, "VFIO_GROUP_SET_CONTAINER", pointer_to(container)),
            ioctl(container, "VFIO_SET_IOMMU", lib.VFIO_TYPE1v2_IOMMU),
        ),
    )


def group_opened(number: int, hold_ns: int = HOLD_NS) -> tuple[Step, ...]:
    """Opens group ``number``, keeps it for ``hold_ns``, closes it again; decisive: the open."""
    group = Slot("group")
    return (
        openat(f"/dev/vfio/{number}", os.O_RDWR, into=group, decisive=True),
        close(group, delay_ns=hold_ns),
    )


def device_opened(group: Slot, name: str) -> tuple[Step, ...]:
    """Gets a descriptor of the device ``name``, keeps it for a moment, closes it."""
    device = Slot("device")
    return (
        ioctl(group, "VFIO_GROUP_GET_DEVICE_FD", name.encode() + b"\0", into=device, decisive=True),
        close(device, delay_ns=HOLD_NS),
    )


def cdev_bound(node: Path, iommufd: Slot) -> tuple[Step, ...]:
    """Opens a device's character device, binds it to the iommufd, keeps it for a moment, closes it.

    Decisive: the open, and the bind.
    """
    device = Slot("device")
    bind = struct("vfio_device_bind_iommufd")
    return (
        openat(node, os.O_RDWR, into=device, decisive=True),
        ioctl(
            device,
            "VFIO_DEVICE_BIND_IOMMUFD",
            memory(bind, stores={"iommufd": iommufd}),
            decisive=True,
        ),
        close(device, delay_ns=HOLD_NS),
    )


def mdev_removed(path: Path) -> tuple[Step, ...]:
    """Writes to the ``remove`` attribute of the mediated device at ``path`` in sysfs."""
    return write_file(path / "remove", b"1", decisive=True)


def driver_unbound(path: Path, address: str) -> tuple[Step, ...]:
    """Takes the PCI function at ``path`` in sysfs from its driver."""
    return write_file((path / "driver").resolve() / "unbind", address.encode(), decisive=True)


def driver_probed(bus: Path, address: str) -> tuple[Step, ...]:
    """Offers a PCI function to the driver that its driver_override names."""
    return write_file(bus / "drivers_probe", address.encode(), decisive=True)
