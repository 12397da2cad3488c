"""Looking for functions on one bus anew, and on no other: what was removed elsewhere stays away."""

from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.host.blocking import write_with_deadline

_BUSES = Path("/sys/class/pci_bus")


def rescan_bus_of(address: str, deadline: float, buses: Path = _BUSES) -> None:
    """Look anew for the functions of the bus that this address is on, and of those below it.

    Source: Documentation/ABI/testing/sysfs-bus-pci, /sys/bus/pci/devices/.../pci_bus/.../rescan.

    :param address: of a function that is gone, 0000:01:00.0.
    :raises HarnessError: its bus is gone, too.
    """
    bus = buses / address.rpartition(":")[0]
    if not bus.is_dir():
        raise HarnessError(
            f"{address} is gone, and its bus {bus.name} with it: rescan what that bus was below"
        )
    write_with_deadline(bus / "rescan", "1", deadline)
