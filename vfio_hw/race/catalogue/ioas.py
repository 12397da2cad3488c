"""Operations on an iommufd: its address spaces and what they map, page tables, objects."""

from collections.abc import Callable, Sequence

from vfio_hw.race.catalogue.effects import CLOSED_DEVICE, CLOSED_IOMMUFD, loses
from vfio_hw.race.catalogue.entry import KINDS, PCI, Legal, Operation, alone, legal
from vfio_hw.race.catalogue.subject import World
from vfio_hw.race.program import Slot, Step, close, ioctl, memory
from vfio_hw.uapi import lib, struct
from vfio_hw.vfio.dma import PAGE

_SCENES = ("cdev", "iommufd")
_ACCESS: int = (
    lib.IOMMU_IOAS_MAP_READABLE | lib.IOMMU_IOAS_MAP_WRITEABLE | lib.IOMMU_IOAS_MAP_FIXED_IOVA
)
_MOST_RANGES = 16


def _alloc(world: World, into: Slot, *, decisive: bool = False) -> Step:
    request = memory(struct("iommu_ioas_alloc"), loads={"out_ioas_id": into})
    return ioctl(world.iommufd, "IOMMU_IOAS_ALLOC", request, decisive=decisive)


def _destroy(world: World, which: Slot, *, decisive: bool = False) -> Step:
    request = memory(struct("iommu_destroy"), stores={"id": which})
    return ioctl(world.iommufd, "IOMMU_DESTROY", request, decisive=decisive)


def mapped(world: World, *, decisive: bool = False) -> Step:
    request = struct(
        "iommu_ioas_map",
        flags=_ACCESS,
        length=PAGE,
        iova=world.subject.iova,
    )
    own = memory(request, stores={"ioas_id": world.ioas}, pointers={"user_va": world.mapped})
    return ioctl(world.iommufd, "IOMMU_IOAS_MAP", own, decisive=decisive)


def _unmap(world: World, *, decisive: bool = False) -> Step:
    request = struct("iommu_ioas_unmap", iova=world.subject.iova, length=PAGE)
    own = memory(request, stores={"ioas_id": world.ioas})
    return ioctl(world.iommufd, "IOMMU_IOAS_UNMAP", own, decisive=decisive)


def allocated(world: World) -> Sequence[Step]:
    """Makes an address space, and destroys it."""
    new = Slot("new ioas", descriptor=False)
    return _alloc(world, new, decisive=True), _destroy(world, new)


def destroyed(world: World) -> Sequence[Step]:
    """Destroys an address space that nobody uses."""
    new = Slot("new ioas", descriptor=False)
    return _alloc(world, new), _destroy(world, new, decisive=True)


def ranges(world: World) -> Sequence[Step]:
    """Asks which iovas can be mapped."""
    request = struct("iommu_ioas_iova_ranges", num_iovas=_MOST_RANGES)
    own = memory(request, stores={"ioas_id": world.ioas}, pointers={"allowed_iovas": world.scratch})
    return (ioctl(world.iommufd, "IOMMU_IOAS_IOVA_RANGES", own, decisive=True),)


def tabled(world: World) -> Sequence[Step]:
    """Makes a page table for the device, and destroys it."""
    table = Slot("page table", descriptor=False)
    request = memory(
        struct("iommu_hwpt_alloc"),
        stores={"dev_id": world.dev_id, "pt_id": world.ioas},
        loads={"out_hwpt_id": table},
    )
    return (
        ioctl(world.iommufd, "IOMMU_HWPT_ALLOC", request, decisive=True),
        _destroy(world, table),
    )


def hardware(world: World) -> Sequence[Step]:
    """Asks what IOMMU the device is behind."""
    request = memory(struct("iommu_hw_info"), stores={"dev_id": world.dev_id})
    return (ioctl(world.iommufd, "IOMMU_GET_HW_INFO", request, decisive=True),)


def _on_iommufd(
    name: str,
    steps: Callable[[World], Sequence[Step]],
    *more: tuple[Legal, ...],
    kinds: tuple[str, ...] = KINDS,
    outcome: tuple[Legal, ...] | None = None,
    scenes: tuple[str, ...] = _SCENES,
) -> Operation:
    outcomes = sum(more, (alone() if outcome is None else outcome) + loses(CLOSED_IOMMUFD))
    return Operation(name, scenes, steps, outcomes, kinds=kinds)


_USED = "iommufd_object_remove(): somebody uses it"
_UNBOUND = "the last close of the device has unbound it from the iommufd, or is about to"

OPERATIONS = (
    Operation(
        "close_iommufd",
        (*_SCENES, "node"),
        lambda world: (close(world.iommufd, decisive=True),),
        alone(),
        frozenset({CLOSED_IOMMUFD}),
    ),
    _on_iommufd("IOMMU_IOAS_ALLOC", allocated),
    _on_iommufd("IOMMU_DESTROY_of_an_IOAS", destroyed),
    _on_iommufd("IOMMU_IOAS_MAP", lambda world: (mapped(world, decisive=True), _unmap(world))),
    _on_iommufd("IOMMU_IOAS_UNMAP", lambda world: (mapped(world), _unmap(world, decisive=True))),
    _on_iommufd("IOMMU_IOAS_IOVA_RANGES", ranges),
    _on_iommufd(
        "IOMMU_DESTROY_of_an_IOAS_in_use",
        lambda world: (_destroy(world, world.ioas, decisive=True),),
        legal("ok", "nobody uses it any more", under=(CLOSED_DEVICE, "the device is detached")),
        outcome=alone("EBUSY", _USED),
        scenes=("cdev",),
    ),
    _on_iommufd(
        "IOMMU_DESTROY_of_the_device",
        lambda world: (_destroy(world, world.dev_id, decisive=True),),
        legal("ENOENT", _UNBOUND, under=CLOSED_DEVICE),
        outcome=alone("EBUSY", _USED),
        scenes=("cdev",),
    ),
    _on_iommufd(
        "IOMMU_HWPT_ALLOC",
        tabled,
        legal("ENOENT", _UNBOUND, under=CLOSED_DEVICE),
        kinds=PCI,
        scenes=("cdev",),
    ),
    _on_iommufd(
        "IOMMU_GET_HW_INFO",
        hardware,
        legal("ENOENT", _UNBOUND, under=CLOSED_DEVICE),
        kinds=PCI,
        scenes=("cdev",),
    ),
)
