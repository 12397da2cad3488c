"""The device that a round is about, and all that a round may hold of it: slots, memory, regions."""

import mmap
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from vfio_hw.race.program import Page, Slot, Step, syscall
from vfio_hw.uapi import ffi, lib, struct
from vfio_hw.vfio.dma import PAGE
from vfio_hw.vfio.names import cdev_path, group_path
from vfio_hw.vfio.opened import IOMMU_MODES, opened

#: What the slots are called, or how that begins, in which users have the device.
DEVICE_SLOT = "device"
#: What rounds map for devices, and let the kernel write bitmaps to: bytes.
MEMORY = 4 * PAGE
# Made before the engine's process is forked, so that it is there too, at the same address; shared,
# so that what is written to it there is read here; and before any test, whose open file it were.
_PAGES = mmap.mmap(-1, MEMORY)
_RANGE = struct("vfio_device_feature_dma_logging_range", iova=PAGE, length=PAGE)


def _page(place: int, name: str, content: bytes = b"") -> Page:
    _PAGES[place * PAGE : place * PAGE + len(content)] = content
    start = int(ffi.cast("uintptr_t", ffi.from_buffer(_PAGES)))
    return Page(name, start + place * PAGE, content)


_ANSWER = _page(0, "answer")
_RANGES = _page(1, "range of iovas", bytes(ffi.buffer(_RANGE)))
_SCRATCH = _page(2, "scratch")
_MAPPED = _page(3, "mapped for the device")
_REGIONS: tuple[int, ...] = (
    lib.VFIO_PCI_BAR0_REGION_INDEX,
    lib.VFIO_PCI_BAR2_REGION_INDEX,
    lib.VFIO_PCI_CONFIG_REGION_INDEX,
)


@dataclass
class Pull:
    """How QEMU is asked to pull the device out: ``request`` is written to ``port``, a descriptor of
    the process that the tests run in.

    :param planned: a round was made up that asks for it, since it was last brought back.
    """

    port: int
    request: bytes
    planned: bool = False


@dataclass(frozen=True)
class Subject:
    """A device under test: ``name`` as VFIO_GROUP_GET_DEVICE_FD wants it, ``path`` in sysfs."""

    kind: str
    name: str
    path: Path
    regions: dict[int, int] = field(default_factory=dict, repr=False)
    """The offsets of BAR 0, BAR 2 and the config space, by their indices."""
    iova: int = PAGE
    physical: Path | None = None
    """Of a virtual function, the one that it is of."""
    pull: Pull | None = None
    """Of a device in a slot."""
    bring_back: Callable[[], None] | None = None
    """Of a device that does not come back by itself, or by its driver: what brings it back."""

    @property
    def group_node(self) -> Path:
        """The node of its IOMMU group; another one after the device came back."""
        return group_path(self.path)

    @property
    def node(self) -> Path:
        """Its own character device; another one after the device came back."""
        return cdev_path(self.path)


@dataclass(frozen=True)
class World:
    """What the programs of one round see: the device, and the slots of what is open of it.

    All users of a round share the slots but for ``device``: each has a descriptor of its own.
    """

    subject: Subject
    container: Slot = field(default_factory=lambda: Slot("container"))
    group: Slot = field(default_factory=lambda: Slot("group"))
    device: Slot = field(default_factory=lambda: Slot(DEVICE_SLOT))
    iommufd: Slot = field(default_factory=lambda: Slot("iommufd"))
    ioas: Slot = field(default_factory=lambda: Slot("ioas", descriptor=False))
    dev_id: Slot = field(default_factory=lambda: Slot("devid", descriptor=False))
    vm: Slot = field(default_factory=lambda: Slot("vm"))
    kvm_vfio: Slot = field(default_factory=lambda: Slot("kvm-vfio"))
    user: Slot = field(default_factory=lambda: Slot("the user", descriptor=False))
    """The process of a user that is one of its own."""

    @property
    def range(self) -> Page:
        """A range of iovas, the second page, as the logging of DMA takes it."""
        return _RANGES

    @property
    def scratch(self) -> Page:
        """A page that the kernel may write what it likes to."""
        return _SCRATCH

    @property
    def answer(self) -> Page:
        """What :meth:`answered` reads."""
        return _ANSWER

    def answered(self) -> bytes:
        """What a round has put there."""
        return bytes(_PAGES[:16])

    @property
    def mapped(self) -> Page:
        """A page that is mapped for the device."""
        return _MAPPED

    def second_user(self) -> "World":
        """The same world as another user sees it, with a descriptor of its own of the device."""
        return replace(self, device=Slot(f"{DEVICE_SLOT} of the second user"))

    def shared_with(self, second: "World") -> Step:
        """Duplicates the device's descriptor for the second user."""
        return syscall("dup", self.device, into=second.device, label="dup for the second user")


def subject_of(kind: str, name: str, path: Path) -> Subject:
    """The subject; the device is opened once, to be asked where its regions are."""
    with opened(path, IOMMU_MODES[1]) as user:
        found = [user.device.region(index) for index in _REGIONS]
        ranges = user.iommu.iova_ranges()
    regions = {region.index: region.offset for region in found}
    first = max(PAGE, ranges[0][0]) if ranges else PAGE
    return Subject(kind, name, path, regions, first)


def world_of(subject: Subject) -> World:
    """A world for a new round, with every slot empty."""
    return World(subject)
