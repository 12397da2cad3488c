"""Looking for functions on one bus anew, and on no other: what was removed elsewhere stays away."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from vfio_hw.errors import HarnessError, KernelRefused
from vfio_hw.host import sysfs
from vfio_hw.host.blocking import write_with_deadline
from vfio_hw.host.reading import read
from vfio_hw.host.sysfs import attribute, names_in, write

BUSES = Path("/sys/class/pci_bus")
_BUS = Path("/sys/bus/pci")
#: Of a bus: whether what comes to it is offered to drivers.
AUTOPROBE = "drivers_autoprobe"


def rescan_bus_of(
    address: str,
    deadline: float,
    *,
    override: str | None = None,
    buses: Path = BUSES,
    pci: Path = _BUS,
) -> None:
    """Look anew for the functions of the bus that this address is on, and of those below it.

    It is offered to no driver before somebody asks for that, unless pci_bus_add_device() of this
    kernel does not mind drivers_autoprobe; others that are found go to their drivers, where
    drivers_autoprobe is on.
    Source: Documentation/ABI/testing/sysfs-bus-pci, /sys/bus/pci/devices/.../pci_bus/.../rescan.

    :param address: of a function that is gone, 0000:01:00.0.
    :param override: the only driver that it may have from then on.
    :raises HarnessError: its bus is gone, too.
    """
    bus = bus_of(address, buses)
    before = names_in(pci / "devices")
    with _unprobed(pci) as probes:
        write_with_deadline(bus / "rescan", "1", deadline)
        own = pci / "devices" / address / "driver_override"
        # Now, as a driver's module that is loaded takes whatever it may.
        if override and own.exists() and read(own) != override:
            write_with_deadline(own, f"{override}\n", deadline)
    if not probes:
        return  # where somebody has it so, others get no driver from us either
    for other in sorted({*names_in(pci / "devices")} - {*before, address}):
        # What somebody else had removed is no device of ours, and its driver is not taken away.
        with sysfs.unkept(), contextlib.suppress(KernelRefused):
            write_with_deadline(pci / "drivers_probe", other, deadline)


def bus_of(address: str, buses: Path = BUSES) -> Path:
    """The bus that this address is on.

    :raises HarnessError: it is gone.
    """
    bus = buses / address.rpartition(":")[0]
    if not bus.is_dir():
        raise HarnessError(
            f"{address} is gone, and its bus {bus.name} with it: rescan what that bus was below"
        )
    return bus


@contextlib.contextmanager
def _unprobed(pci: Path) -> Iterator[bool]:
    """What comes to the bus inside is offered to no driver; yields whether it is otherwise."""
    switch = pci / AUTOPROBE
    probes = attribute(switch) == "1"
    if probes:
        write(switch, "0")
    try:
        yield probes
    finally:
        if probes:
            write(switch, "1")
