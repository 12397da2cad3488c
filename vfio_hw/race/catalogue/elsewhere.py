"""Disruptions for which the device has to sit where the machine that runs most tests has none.

In a slot of its own, where it can be pulled out, and reset with its bus; or as a virtual function.
"""

import os
from collections.abc import Sequence

from vfio_hw.race.catalogue.effects import (
    CLOSED_DEVICE,
    CLOSED_GROUP,
    REACHED,
    REMOVED,
    RESET,
    loses,
    resets,
)
from vfio_hw.race.catalogue.entry import RESETTABLE, Disruption, alone, legal
from vfio_hw.race.catalogue.scenes import SCENES
from vfio_hw.race.catalogue.subject import World
from vfio_hw.race.program import (
    Memory,
    Slot,
    Step,
    close,
    ioctl,
    sleep_ns,
    syscall,
    write,
    write_file,
)
from vfio_hw.uapi import ffi, struct

#: Where a device is alone in a slot, and so on its bus.
SLOT = "hot-plug"
#: Where there are virtual functions.
VIRTUAL = "sr-iov"

# From the request to the kernel's worker that removes the device lie QEMU and the harness.
_HEARD_NS = 100_000_000
_HEAD = ffi.sizeof("struct vfio_pci_hot_reset")
_LOCKED = "vfio_pci_dev_set_hot_reset() only tries to get the lock of the device's memory"


def _reset_with_group(world: World) -> Sequence[Step]:
    request = struct("vfio_pci_hot_reset", count=1, group_fds=1)
    memory = Memory(bytes(ffi.buffer(request))[: _HEAD + 4], stores={_HEAD: world.group})
    return (ioctl(world.device, "VFIO_DEVICE_PCI_HOT_RESET", memory, decisive=True),)


def _reset(world: World) -> Sequence[Step]:
    request = struct("vfio_pci_hot_reset", count=0, group_fds=0)
    return (ioctl(world.device, "VFIO_DEVICE_PCI_HOT_RESET", request, decisive=True),)


def _pulled(world: World) -> Sequence[Step]:
    """Asks QEMU through the port of the tests, which one process can open and theirs has open."""
    assert world.subject.pull is not None
    world.subject.pull.planned = True
    tests, port = Slot("process of the tests"), Slot("port to QEMU")
    return (
        syscall("pidfd_open", os.getpid(), 0, into=tests),
        syscall("pidfd_getfd", tests, world.subject.pull.port, 0, into=port),
        write(port, world.subject.pull.request, label="device_del", decisive=True),
        sleep_ns(_HEARD_NS),
        close(port),
        close(tests),
    )


def _virtual_removed(world: World) -> Sequence[Step]:
    assert world.subject.physical is not None
    return write_file(world.subject.physical / "sriov_numvfs", b"0", decisive=True)


_RESETTING = (
    alone() + loses(CLOSED_DEVICE) + resets(under=(RESET,)) + legal("EBUSY", _LOCKED, under=REACHED)
)

DISRUPTIONS = (
    Disruption(
        "hot_reset",
        ("legacy", "guest_open"),
        _reset_with_group,
        _RESETTING + loses(CLOSED_GROUP),
        frozenset({RESET}),
        RESETTABLE,
        machine=SLOT,
    ),
    Disruption(
        "hot_reset_by_iommufd",
        ("cdev",),
        _reset,
        _RESETTING,
        frozenset({RESET}),
        RESETTABLE,
        machine=SLOT,
    ),
    Disruption(
        "hot_unplug",
        tuple(SCENES),
        _pulled,
        alone(reason="QEMU answers later, and the kernel is asked later still"),
        frozenset({REMOVED}),
        RESETTABLE,
        machine=SLOT,
    ),
    Disruption(
        "virtual_function_removed",
        tuple(SCENES),
        _virtual_removed,
        alone("ok+ok"),
        frozenset({REMOVED}),
        ("nvme",),
        waits=True,
        machine=VIRTUAL,
    ),
)
