"""Operations on the regions of an open device: read, write, map, reach through the mapping."""

import mmap
import os

from vfio_hw.race.catalogue.device import on_device
from vfio_hw.race.catalogue.entry import KINDS, PCI
from vfio_hw.race.catalogue.subject import World
from vfio_hw.race.program import Memory, Slot, Step, close, syscall
from vfio_hw.uapi import lib
from vfio_hw.vfio.dma import PAGE

#: A register of BAR 0 that takes a write without doing anything to speak of, and its width: of edu
#: the one that inverts what is written, of e1000e the VLAN type, of nvme the mask of interrupts, of
#: mtty the scratch pad; mdpy and mbochs have memory there.
REGISTERS = {
    "mtty": (7, 1),
    "mdpy": (0, 4),
    "mbochs": (0, 4),
    "edu": (0x04, 4),
    "e1000e": (0x38, 4),
    "nvme": (0x0C, 4),
}
#: The offset of the cache line size in config space, which PCI Express devices only remember.
_CACHE_LINE = 0x0C
#: The kinds with a BAR 0 that can be mapped.
MAPPABLE = ("mdpy", "mbochs", *PCI)


def _moved(call: str, world: World, index: int, place: int, width: int) -> tuple[Step, ...]:
    at = world.subject.regions[index] + place
    data = Memory(bytes(width))
    return (syscall(call, world.device, data, width, at, decisive=True),)


def _config(call: str, place: int, width: int, world: World) -> tuple[Step, ...]:
    return _moved(call, world, lib.VFIO_PCI_CONFIG_REGION_INDEX, place, width)


def _bar(call: str, world: World) -> tuple[Step, ...]:
    place, width = REGISTERS[world.subject.kind]
    return _moved(call, world, lib.VFIO_PCI_BAR0_REGION_INDEX, place, width)


def mapping(world: World, *, decisive: bool = False) -> tuple[Step, Slot]:
    """Maps the first page of BAR 0; the slot gets the address."""
    where = Slot("mapping", descriptor=False)
    offset = world.subject.regions[lib.VFIO_PCI_BAR0_REGION_INDEX]
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    step = syscall(
        "mmap",
        0,
        PAGE,
        protection,
        mmap.MAP_SHARED,
        world.device,
        offset,
        into=where,
        decisive=decisive,
    )
    return step, where


def mapped(world: World) -> tuple[Step, ...]:
    """Maps a page of BAR 0, and unmaps it."""
    step, where = mapping(world, decisive=True)
    return step, syscall("munmap", where, PAGE)


def reached(world: World) -> tuple[Step, ...]:
    """Reads from a mapping of BAR 0, as the kernel does that copies from it."""
    step, where = mapping(world)
    file = Slot("memfd")
    return (
        syscall("memfd_create", Memory(b"copy\0"), os.MFD_CLOEXEC, into=file),
        step,
        syscall("write", file, where, 4, label="read a mapping", decisive=True),
        syscall("munmap", where, PAGE),
        close(file),
    )


OPERATIONS = (
    on_device("read_config", lambda world: _config("pread64", 0, 4, world), kinds=KINDS),
    on_device(
        "write_config", lambda world: _config("pwrite64", _CACHE_LINE, 1, world), kinds=KINDS
    ),
    on_device("read_BAR", lambda world: _bar("pread64", world), kinds=KINDS),
    on_device("write_BAR", lambda world: _bar("pwrite64", world), kinds=KINDS),
    on_device("mmap_BAR", mapped, kinds=MAPPABLE),
    on_device("read_mapped_BAR", reached, kinds=MAPPABLE),
)
