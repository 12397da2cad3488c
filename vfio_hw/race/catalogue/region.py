"""Operations on the regions of an open device: read, write, map, reach through the mapping."""

from vfio_hw.race.calls import load, mapping, mmap, munmap, pread, pwrite
from vfio_hw.race.catalogue.device import on_device
from vfio_hw.race.catalogue.effects import REACHED
from vfio_hw.race.catalogue.entry import KINDS, PCI
from vfio_hw.race.catalogue.subject import World
from vfio_hw.race.program import Slot, Step
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


def _config(world: World) -> int:
    return world.subject.regions[lib.VFIO_PCI_CONFIG_REGION_INDEX]


def config_read(world: World) -> tuple[Step, ...]:
    """Reads the vendor and device ids."""
    return (pread(world.device, 4, _config(world), decisive=True),)


def config_written(world: World) -> tuple[Step, ...]:
    """Writes the cache line size."""
    return (pwrite(world.device, b"\0", _config(world) + _CACHE_LINE, decisive=True),)


def register(world: World) -> tuple[int, int]:
    """Where that register is, and its width."""
    place, width = REGISTERS[world.subject.kind]
    return world.subject.regions[lib.VFIO_PCI_BAR0_REGION_INDEX] + place, width


def bar_read(world: World) -> tuple[Step, ...]:
    """Reads the register."""
    place, width = register(world)
    return (pread(world.device, width, place, decisive=True),)


def bar_written(world: World) -> tuple[Step, ...]:
    """Writes 0 to the register."""
    place, width = register(world)
    return (pwrite(world.device, bytes(width), place, decisive=True),)


def bar_mapped(world: World, *, decisive: bool = False) -> tuple[Step, Slot]:
    """Maps the first page of BAR 0; the slot gets the address."""
    where = mapping("BAR 0", PAGE)
    offset = world.subject.regions[lib.VFIO_PCI_BAR0_REGION_INDEX]
    return mmap(where, world.device, offset, decisive=decisive), where


def mapped(world: World) -> tuple[Step, ...]:
    """Maps a page of BAR 0, and unmaps it."""
    step, where = bar_mapped(world, decisive=True)
    return step, munmap(where)


def reached(world: World) -> tuple[Step, ...]:
    """Reads from a mapping of BAR 0."""
    step, where = bar_mapped(world)
    return step, load(where, decisive=True), munmap(where)


_REACHED = frozenset({REACHED})

OPERATIONS = (
    on_device("read_config", config_read, kinds=KINDS),
    on_device("write_config", config_written, kinds=KINDS),
    on_device("read_BAR", bar_read, kinds=KINDS, does=_REACHED),
    on_device("write_BAR", bar_written, kinds=KINDS, does=_REACHED),
    on_device("mmap_BAR", mapped, kinds=MAPPABLE),
    on_device("read_mapped_BAR", reached, kinds=MAPPABLE, does=_REACHED),
)
