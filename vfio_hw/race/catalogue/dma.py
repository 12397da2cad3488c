"""Operations on the mappings of a container's type 1 IOMMU."""

from collections.abc import Sequence

from vfio_hw.race.catalogue.effects import (
    CLOSED_CONTAINER,
    CLOSED_GROUP,
    GONE,
    MAPPED,
    UNMAPPED,
    UNSET,
    loses,
)
from vfio_hw.race.catalogue.entry import Operation, alone, legal
from vfio_hw.race.catalogue.subject import World
from vfio_hw.race.program import Memory, Step, ioctl, memory
from vfio_hw.uapi import CData, ffi, lib, struct
from vfio_hw.vfio.dma import PAGE

_SCENES = ("container", "legacy")
_BITMAP = ffi.sizeof("struct vfio_iommu_type1_dirty_bitmap") + ffi.offsetof(
    "struct vfio_iommu_type1_dirty_bitmap_get", "bitmap", "data"
)
_ACCESS: int = lib.VFIO_DMA_MAP_FLAG_READ | lib.VFIO_DMA_MAP_FLAG_WRITE


def map_dma(world: World, *, decisive: bool = False) -> Step:
    """Maps a page."""
    request = struct(
        "vfio_iommu_type1_dma_map",
        flags=_ACCESS,
        iova=world.subject.iova,
        size=PAGE,
    )
    own = memory(request, pointers={"vaddr": world.mapped})
    return ioctl(world.container, "VFIO_IOMMU_MAP_DMA", own, decisive=decisive)


def unmap_dma(world: World, *, decisive: bool = False) -> Step:
    """Unmaps that page."""
    request = struct("vfio_iommu_type1_dma_unmap", iova=world.subject.iova, size=PAGE)
    return ioctl(world.container, "VFIO_IOMMU_UNMAP_DMA", request, decisive=decisive)


def unmap_all(world: World, *, decisive: bool = False) -> Step:
    """Unmaps everything."""
    request = struct("vfio_iommu_type1_dma_unmap", flags=lib.VFIO_DMA_UNMAP_FLAG_ALL)
    return ioctl(world.container, "VFIO_IOMMU_UNMAP_DMA", request, decisive=decisive)


def told_info(world: World) -> Sequence[Step]:
    """Asks what can be mapped."""
    request = struct("vfio_iommu_type1_info")
    return (ioctl(world.container, "VFIO_IOMMU_GET_INFO", request, decisive=True),)


def _tracking(world: World, flag: int, *, decisive: bool = False, get: CData | None = None) -> Step:
    """:param get: what GET_BITMAP is asked for; its answer goes to the scratch page."""
    data = b"" if get is None else bytes(ffi.buffer(get))
    request = struct("vfio_iommu_type1_dirty_bitmap", flags=flag, data=data)
    pointers = {} if get is None else {_BITMAP: world.scratch}
    own = Memory(bytes(ffi.buffer(request)), pointers=pointers)
    return ioctl(world.container, "VFIO_IOMMU_DIRTY_PAGES", own, decisive=decisive)


def tracked(world: World) -> Sequence[Step]:
    """Begins to track dirty pages, and ends that."""
    return (
        map_dma(world),
        _tracking(world, lib.VFIO_IOMMU_DIRTY_PAGES_FLAG_START, decisive=True),
        _tracking(world, lib.VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP),
        unmap_dma(world),
    )


def dirtied(world: World) -> Sequence[Step]:
    """Asks which pages are dirty."""
    get = struct("vfio_iommu_type1_dirty_bitmap_get", iova=world.subject.iova, size=PAGE)
    get.bitmap.pgsize, get.bitmap.size = PAGE, 8
    flag = lib.VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP
    return (
        map_dma(world),
        _tracking(world, lib.VFIO_IOMMU_DIRTY_PAGES_FLAG_START),
        _tracking(world, flag, decisive=True, get=get),
        _tracking(world, lib.VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP),
        unmap_dma(world),
    )


#: What may come of a request, once the container has lost its only group too.
REQUESTING = (
    alone()
    + loses(CLOSED_CONTAINER)
    + legal(
        "EINVAL",
        "vfio_group_detach_container(): a container without a group has no IOMMU",
        under=(*GONE, UNSET, CLOSED_GROUP),
        scenes=("container",),
    )
)

OPERATIONS = (
    Operation(
        "VFIO_IOMMU_MAP_DMA",
        _SCENES,
        lambda world: (map_dma(world, decisive=True), unmap_dma(world)),
        REQUESTING + legal("EEXIST", "linux/vfio.h: it is mapped", under=MAPPED),
        frozenset({MAPPED}),
    ),
    Operation(
        "VFIO_IOMMU_UNMAP_DMA",
        _SCENES,
        lambda world: (map_dma(world), unmap_dma(world, decisive=True)),
        REQUESTING,
        frozenset({MAPPED, UNMAPPED}),
    ),
    Operation(
        "VFIO_DMA_UNMAP_FLAG_ALL",
        _SCENES,
        lambda world: (map_dma(world), unmap_all(world, decisive=True)),
        REQUESTING,
        frozenset({MAPPED, UNMAPPED}),
    ),
    Operation("VFIO_IOMMU_GET_INFO", _SCENES, told_info, REQUESTING),
    Operation(
        "VFIO_IOMMU_DIRTY_PAGES_START",
        _SCENES,
        tracked,
        REQUESTING,
        frozenset({MAPPED}),
    ),
    Operation(
        "VFIO_IOMMU_DIRTY_PAGES_GET_BITMAP",
        _SCENES,
        dirtied,
        REQUESTING,
        frozenset({MAPPED}),
    ),
)
