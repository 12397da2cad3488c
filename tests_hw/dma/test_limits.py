"""This file checks the limits of mapping: locked memory, and the number of mappings (P8, P9)."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from vfio_hw.host.forked import forked
from vfio_hw.host.limits import give_up_privileges
from vfio_hw.host.sysfs import write
from vfio_hw.vfio.dma import PAGE, first_iova, memory
from vfio_hw.vfio.opened import opened

CONTAINERS = ["vfio_type1_iommu", "vfio_type1v2_iommu"]
ENTRIES = Path("/sys/module/vfio_iommu_type1/parameters/dma_entry_limit")
LIMIT = 4


@pytest.mark.promise("P9")
def test_an_ordinary_user_maps_as_much_as_it_may_lock(edu, iommu_mode):
    """Up to the limit, again after an unmap, and again after a process that ended with all of it.

    Source: RLIMIT_MEMLOCK in getrlimit(2). What is refused takes nothing of the limit.
    """

    def life(ready):
        with opened(edu.path, iommu_mode) as user, memory(2 * LIMIT * PAGE) as ours:
            iommu, base = user.iommu, first_iova(user.iommu, 2 * LIMIT * PAGE)
            give_up_privileges(LIMIT * PAGE)
            for _ in range(2):
                assert iommu.map_dma_errno(base, ours.vaddr, ours.size) == errno.ENOMEM
                assert iommu.map_dma_errno(base, ours.vaddr, (LIMIT + 1) * PAGE) == errno.ENOMEM
                for page in range(0, LIMIT * PAGE, PAGE):
                    assert iommu.map_dma_errno(base + page, ours.vaddr + page, PAGE) == 0
                behind = (base + LIMIT * PAGE, ours.vaddr, PAGE)
                assert iommu.map_dma_errno(*behind) == errno.ENOMEM
                assert iommu.unmap_dma(base, PAGE) == PAGE
                assert iommu.map_dma_errno(*behind) == 0
                assert iommu.unmap_all() == LIMIT * PAGE
            assert iommu.map_dma_errno(base, ours.vaddr, LIMIT * PAGE) == 0
            ready()

    for _ in range(2):
        with forked(life):
            pass


@contextlib.contextmanager
def entry_limit(count: int) -> Iterator[None]:
    """Containers that get their IOMMU inside hold so many mappings."""
    before = ENTRIES.read_text()
    try:
        write(ENTRIES, str(count))
        yield
    finally:
        write(ENTRIES, before)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("kind", ["mtty", "edu"])
@pytest.mark.parametrize("mode", CONTAINERS)
def test_a_container_holds_so_many_mappings_and_refusals_take_none(request, kind, mode):
    """ENOSPC when all are used. Source: VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL in linux/vfio.h."""
    device = request.getfixturevalue(kind)
    with entry_limit(2), opened(device.path, mode) as user, memory() as ours:
        container, base = user.container, first_iova(user.iommu, 4 * PAGE)
        assert container.get_info().dma_avail == 2
        for left in (1, 0):
            assert container.map_dma_errno(base, ours.vaddr, 1) == errno.EINVAL
            container.map_dma(base + left * PAGE, ours.vaddr, PAGE)
            assert container.map_dma_errno(base + left * PAGE, ours.vaddr, PAGE) == errno.EEXIST
            assert container.get_info().dma_avail == left
        if kind == "edu":
            assert container.unmap_dma(base, PAGE) == PAGE
            assert container.map_dma_errno(base, 0, PAGE) == errno.EFAULT
            assert container.get_info().dma_avail == 1
            container.map_dma(base, ours.vaddr, PAGE)
        assert container.map_dma_errno(base + 2 * PAGE, ours.vaddr, PAGE) == errno.ENOSPC
        assert container.unmap_dma(base, PAGE) == PAGE
        assert container.map_dma_errno(base + 2 * PAGE, ours.vaddr, PAGE) == 0
        assert container.get_info().dma_avail == 0
        assert container.unmap_all() == 2 * PAGE
        assert container.get_info().dma_avail == 2
