"""Virtual functions of a PCI function. Source: Documentation/ABI/testing/sysfs-bus-pci, sriov_*."""

import contextlib
from collections.abc import Iterator

from vfio_hw.errors import HarnessError
from vfio_hw.host.blocking import BlockingWrite, write_with_deadline
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.sysfs import attribute, write

# Seconds, for none and for each more. It takes a tenth for each, and what its driver needs.
_DEADLINE, _FOR_EACH = 10.0, 1.0


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
    :raises KernelSplat: they did not come, or go, within 10 s and one for each.
    """
    try:
        yield enable(physical, number)
    finally:
        if virtual(physical):
            disabling(physical).must_return(_DEADLINE + number * _FOR_EACH)


def enable(physical: PciFunction, number: int) -> list[PciFunction]:
    """Make it have so many virtual functions; see :func:`enabled`, also of what it raises."""
    deadline = _DEADLINE + number * _FOR_EACH
    write_with_deadline(physical.path / "sriov_numvfs", f"{number}", deadline)
    found = virtual(physical)
    if len(found) != number:
        raise HarnessError(
            f"{physical} was asked for {number} virtual functions and has {len(found)}: see the"
            " kernel log"
        )
    return found


def disabling(physical: PciFunction) -> BlockingWrite:
    """The write that takes all its virtual functions away, started; it waits for their users."""
    return BlockingWrite(physical.path / "sriov_numvfs", "0").start()


@contextlib.contextmanager
def drivers_autoprobe(physical: PciFunction, on: bool) -> Iterator[None]:
    """New virtual functions are offered to drivers inside, or are not; after it is as before."""
    path = physical.path / "sriov_drivers_autoprobe"
    before = attribute(path)
    if before is None:
        raise HarnessError(f"there is no {path}: {physical} has no SR-IOV")
    write(path, f"{on:d}")
    try:
        yield
    finally:
        write(path, before)
