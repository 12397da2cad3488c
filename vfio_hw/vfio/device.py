"""A device, however its descriptor came about."""

from dataclasses import dataclass

from vfio_hw.uapi import ioctl, lib
from vfio_hw.vfio.config import Config
from vfio_hw.vfio.descriptor import Descriptor, errno_of
from vfio_hw.vfio.info import ask
from vfio_hw.vfio.region import Region


@dataclass(frozen=True)
class DeviceInfo:
    """What VFIO_DEVICE_GET_INFO says."""

    flags: int
    num_regions: int
    num_irqs: int
    capabilities: dict[int, bytes]


@dataclass(frozen=True)
class IrqInfo:
    """What VFIO_DEVICE_GET_IRQ_INFO says of one index: its flags and how many vectors it has."""

    flags: int
    count: int


class Device(Descriptor):
    """Owns a device descriptor. Source: linux/vfio.h, "IOCTLs for DEVICE file descriptors"."""

    def info(self) -> DeviceInfo:
        """What the device is, and how many regions and interrupt indices it has.

        :raises KernelRefused: EINVAL before a character device is bound to an iommufd.
        """
        answer = ask(self.fileno(), "VFIO_DEVICE_GET_INFO", "vfio_device_info", on=self.name)
        head = answer.head
        return DeviceInfo(head.flags, head.num_regions, head.num_irqs, answer.capabilities)

    info_errno = errno_of(info)

    def region(self, index: int) -> Region:
        """The region with this index; one that the device does not implement has size 0.

        :raises KernelRefused: EINVAL for an index that the device has not.
        """
        request, name = "VFIO_DEVICE_GET_REGION_INFO", "vfio_region_info"
        answer = ask(self.fileno(), request, name, on=self.name, index=index)
        head = answer.head
        return Region(self, index, head.flags, head.size, head.offset, answer.capabilities)

    region_errno = errno_of(region)

    def irq(self, index: int) -> IrqInfo:
        """How many vectors the interrupt index has, and what can be done with them.

        :raises KernelRefused: EINVAL for an index that the device has not.
        """
        request, name = "VFIO_DEVICE_GET_IRQ_INFO", "vfio_irq_info"
        head = ask(self.fileno(), request, name, on=self.name, index=index).head
        return IrqInfo(head.flags, head.count)

    irq_errno = errno_of(irq)

    def config(self) -> Config:
        """The PCI config space."""
        return Config(self.region(lib.VFIO_PCI_CONFIG_REGION_INDEX))

    def reset(self) -> None:
        """Reset the device.

        :raises KernelRefused: EINVAL when it can not be reset by itself.
        """
        ioctl(self.fileno(), "VFIO_DEVICE_RESET", on=self.name)

    reset_errno = errno_of(reset)
