"""Where sysfs keeps a device, and which nodes in /dev/vfio are its own."""

from pathlib import Path

from vfio_hw.errors import HarnessError, Unsupported

BUSES = (Path("/sys/bus/pci/devices"), Path("/sys/bus/mdev/devices"))
NODES = Path("/dev/vfio")
#: What the nodes of a device that no IOMMU guards begin with.
NOIOMMU = "noiommu-"


def device_path(device: str | Path) -> Path:
    """The sysfs directory of a device, from a PCI address, an mdev's UUID or that directory.

    :raises HarnessError: there is no such device.
    """
    if isinstance(device, Path) or "/" in device:
        places = [Path(device)]
    else:
        places = [bus / device for bus in BUSES]
    for place in places:
        if place.is_dir():
            return place
    raise HarnessError(
        f"there is no device {device} in {' or '.join(str(place.parent) for place in places)}: "
        "write a PCI address as 0000:00:04.0, an mdev as its whole UUID"
    )


def group_path(device: Path) -> Path:
    """The node of the IOMMU group of the device in sysfs directory ``device``.

    Without an IOMMU it is noiommu-N. Source: Documentation/driver-api/vfio.rst, "VFIO NOIOMMU
    mode".

    :raises Unsupported: the device has no IOMMU group.
    """
    try:
        link = (device / "iommu_group").readlink()
    except FileNotFoundError:
        raise Unsupported(
            f"{device} has no iommu_group: bind it to a VFIO driver on a machine with an IOMMU",
            option="CONFIG_VFIO_GROUP",
        ) from None
    without = NODES / f"{NOIOMMU}{link.name}"
    return without if without.exists() else NODES / link.name


def cdev_path(device: Path) -> Path:
    """The node /dev/vfio/devices/vfioN (or noiommu-vfioN) of the device in sysfs ``device``.

    :raises HarnessError: no VFIO driver has the device.
    :raises Unsupported: the kernel gives its VFIO devices no node.
    """
    entry = next((device / "vfio-dev").glob("*vfio*"), None)
    if entry is None:
        raise HarnessError(f"{device} has no vfio-dev/vfioN: bind it to a VFIO driver first")
    # The directory entry is always there; it has a device number only when it has a node.
    if not (entry / "dev").exists():
        raise Unsupported(
            f"{entry} has no node: use a kernel with CONFIG_VFIO_DEVICE_CDEV",
            option="CONFIG_VFIO_DEVICE_CDEV",
        )
    return NODES / "devices" / entry.name
