"""This file checks when a Type 1 container uses large pages of the IOMMU (P8).

The BAR of a graphics function is memory in one piece, whatever the kernel does with its own pages.
Source: modinfo vfio_iommu_type1, disable_hugepages; nr_iommu_pages of /proc/vmstat counts the pages
of page tables.
"""

from pathlib import Path

import pytest

from vfio_hw.errors import Unsupported
from vfio_hw.host.binding import bound_to
from vfio_hw.host.iommu import vtd_registers
from vfio_hw.host.parameter import parameter
from vfio_hw.uapi import ffi, lib
from vfio_hw.vfio.opened import opened

BAR0 = lib.VFIO_PCI_BAR0_REGION_INDEX
LARGE = 2 << 20
VMSTAT, REFRESH = Path("/proc/vmstat"), Path("/proc/sys/vm/stat_refresh")


def table_pages() -> int:
    """How many pages the page tables of all IOMMUs have."""
    REFRESH.read_text()
    counts = dict(line.split() for line in VMSTAT.read_text().splitlines())
    if "nr_iommu_pages" not in counts:
        raise Unsupported("the pages of page tables are not counted", since="6.11")
    return int(counts["nr_iommu_pages"])


def for_a_mapping(function, value: str) -> int:
    """How many pages of page tables a mapping of its whole memory takes."""
    with (
        parameter("vfio_iommu_type1", "disable_hugepages", value),
        bound_to(function),
        opened(function.path, "vfio_type1v2_iommu") as user,
        user.device.region(BAR0).mmapped() as window,
    ):
        address = int(ffi.cast("uintptr_t", ffi.from_buffer(window)))
        before = table_pages()
        user.iommu.map_dma(LARGE, address, len(window))
        taken = table_pages() - before
        assert user.iommu.unmap_dma(LARGE, len(window)) == len(window)
        return taken


@pytest.mark.promise("P8")
def test_large_pages_are_used_unless_disable_hugepages_forbids_it(free):
    """Without them each 2 MiB have a table of their own; where the IOMMU has none, always."""
    with bound_to(free[0]), opened(free[0].path, "vfio_type1v2_iommu") as user:
        size = user.device.region(BAR0).size
    assert size % LARGE == 0
    large = vtd_registers(free[0].path)[0] >> 34 & 1
    spared = for_a_mapping(free[0], "Y") - for_a_mapping(free[0], "N")
    assert spared == (size // LARGE if large else 0)
