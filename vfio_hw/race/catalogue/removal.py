"""What takes the whole device away, how it comes back, and how a function is reset from outside."""

import os
from collections.abc import Sequence
from pathlib import Path

from vfio_hw.host import modules
from vfio_hw.host.binding import rebind
from vfio_hw.host.mdev import DEVICES, Mdev, MdevType
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.rescan import rescan_bus_of
from vfio_hw.race.catalogue.effects import REMOVED
from vfio_hw.race.catalogue.entry import MEDIATED, PCI, Operation, alone, legal
from vfio_hw.race.catalogue.mdev import type_path
from vfio_hw.race.catalogue.subject import Subject, World
from vfio_hw.race.program import Memory, Step, syscall, write_file

_BUS = Path("/sys/bus/pci")
_DEADLINE = 10.0


def unbound(world: World) -> Sequence[Step]:
    """Takes the function from its driver."""
    address = world.subject.name.encode()
    return write_file(_BUS / "drivers/vfio-pci/unbind", address, decisive=True)


def pci_removed(world: World) -> Sequence[Step]:
    """Takes the function from its bus."""
    return write_file(world.subject.path / "remove", b"1", decisive=True)


def unloaded(world: World) -> Sequence[Step]:
    """Unloads the module of the parent, without waiting for its users."""
    name = Memory(world.subject.kind.encode() + b"\0")
    call = syscall("delete_module", name, os.O_NONBLOCK, label="delete_module", decisive=True)
    return (call,)


def reset_by_sysfs(world: World) -> Sequence[Step]:
    """Resets the function through its attribute."""
    return write_file(world.subject.path / "reset", b"1", decisive=True)


#: Of several who unbind a function one does: for the others it has no driver.
ONE_UNBINDS = legal("ok+ENODEV", "unbind_store(): it has no driver any more", under=REMOVED)

OPERATIONS = (
    Operation(
        "unbind_driver",
        ("nothing", "container"),
        unbound,
        alone("ok+ok") + ONE_UNBINDS,
        frozenset({REMOVED}),
        PCI,
    ),
)


def restored(subject: Subject) -> None:
    """The device is there again, with its VFIO driver.

    :raises KernelSplat: it did not come back in time.
    """
    if subject.bring_back is not None:
        subject.bring_back()
    if subject.kind in MEDIATED:
        if not modules.is_loaded(subject.kind):
            modules.load(subject.kind)
        if not (DEVICES / subject.name).exists():
            MdevType(type_path(subject.kind)).create(subject.name)
        return
    function = PciFunction.at(subject.name) if subject.path.exists() else _rescanned(subject)
    if function.driver != "vfio-pci":
        rebind(function, "vfio-pci")


def made_anew(subject: Subject) -> None:
    """A device that users change and that outlives them is another one, as it was at first.

    mtty stays in the state of its migration in which a user leaves it; who brings it from there to
    another one may bring the kernel down: docs/finds/mtty-resuming-left-by-another.md.
    """
    if subject.kind in MEDIATED:
        if (DEVICES / subject.name).exists():
            Mdev(subject.name).remove()
        restored(subject)


def _rescanned(subject: Subject) -> PciFunction:
    # Its own driver is not to have it meanwhile: what that makes of it somebody may begin to use.
    rescan_bus_of(subject.name, _DEADLINE, override="vfio-pci")
    return PciFunction.at(subject.name)
