"""Virtual functions of a PCI function. Source: Documentation/ABI/testing/sysfs-bus-pci, sriov_*."""

import contextlib
from collections.abc import Iterator

from vfio_hw.errors import HarnessError
from vfio_hw.host.blocking import BlockingWrite, write_with_deadline
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.sysfs import attribute

# Seconds. It takes a tenth for each function.
_DEADLINE = 10.0


def most(physical: PciFunction) -> int:
    """How many virtual functions it can have; 0 when it has no SR-IOV."""
    return int(attribute(physical.path / "sriov_totalvfs") or 0)


def virtual(physical: PciFunction) -> list[PciFunction]:
    """The virtual functions that it has now, in the order of their numbers."""
    links = sorted(physical.path.glob("virtfn*"), key=lambda link: int(link.name[6:]))
    return [PciFunction.at(link.resolve().name, physical.bus) for link in links]


@contextlib.contextmanager
def enabled(physical: PciFunction, number: int = 1) -> Iterator[list[PciFunction]]:
    """It has so many virtual functions inside, and none after.

    :raises HarnessError: there came another number.
    :raises KernelRefused: EINVAL or ENOENT when its driver makes none.
    :raises KernelSplat: they did not come, or go, within 10 s.
    """
    write_with_deadline(physical.path / "sriov_numvfs", f"{number}", _DEADLINE)
    try:
        found = virtual(physical)
        if len(found) != number:
            raise HarnessError(
                f"{physical} was asked for {number} virtual functions and has {len(found)}: see the"
                " kernel log"
            )
        yield found
    finally:
        if virtual(physical):
            disabling(physical).must_return(_DEADLINE)


def disabling(physical: PciFunction) -> BlockingWrite:
    """The write that takes all its virtual functions away, started; it waits for their users."""
    return BlockingWrite(physical.path / "sriov_numvfs", "0").start()
