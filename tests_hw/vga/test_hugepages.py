"""This file checks when a Type 1 container, and an IOAS, use large pages of the IOMMU (P8).

The BAR of a graphics function is memory in one piece, whatever the kernel does with its own pages.
Source: modinfo vfio_iommu_type1, disable_hugepages; IOMMU_OPTION_HUGE_PAGES in linux/iommufd.h;
nr_iommu_pages of /proc/vmstat counts the pages of page tables.
"""

import errno
from pathlib import Path

import pytest

from vfio_hw.errors import Unsupported
from vfio_hw.host.binding import bound_to
from vfio_hw.host.iommu import vtd_registers
from vfio_hw.host.parameter import parameter
from vfio_hw.uapi import ffi, lib
from vfio_hw.vfio.dmabuf import export
from vfio_hw.vfio.feature import GET, PROBE, feature_errno
from vfio_hw.vfio.opened import opened

BAR0 = lib.VFIO_PCI_BAR0_REGION_INDEX
DMA_BUF, HUGE = lib.VFIO_DEVICE_FEATURE_DMA_BUF, lib.IOMMU_OPTION_HUGE_PAGES
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


def in_an_ioas(function, huge: int) -> int:
    """The same in an IOAS with this value of the option; the memory is had as a dma-buf."""
    with bound_to(function), opened(function.path, "iommufd") as user:
        if feature_errno(user.device, DMA_BUF | PROBE | GET) == errno.ENOTTY:
            text = f"{function} has no dma-bufs to map in an IOAS"
            raise Unsupported(text, option="CONFIG_VFIO_PCI_DMABUF")
        size = user.device.region(BAR0).size
        user.iommufd.set_option(HUGE, huge, user.iommu)
        with export(user.device, BAR0, [(0, size)]) as buffer:
            before = table_pages()
            user.iommu.map_file(LARGE, buffer, 0, size)
            taken = table_pages() - before
            assert user.iommu.unmap_dma(LARGE, size) == size
            return taken


def to_be_spared(function) -> int:
    """How many pages of page tables large pages spare its whole memory.

    Without them each 2 MiB have a table of their own; where the IOMMU has none, always.
    """
    with bound_to(function), opened(function.path, "vfio_type1v2_iommu") as user:
        size = user.device.region(BAR0).size
    assert size % LARGE == 0
    large = vtd_registers(function.path)[0] >> 34 & 1
    return size // LARGE if large else 0


@pytest.mark.promise("P8")
def test_large_pages_are_used_unless_disable_hugepages_forbids_it(free):
    spared = for_a_mapping(free[0], "Y") - for_a_mapping(free[0], "N")
    assert spared == to_be_spared(free[0])


@pytest.mark.promise("P8")
def test_an_ioas_combines_pages_unless_its_option_forbids_it(free):
    """Value 0 of IOMMU_OPTION_HUGE_PAGES: everything is mapped to single pages."""
    assert in_an_ioas(free[0], 0) - in_an_ioas(free[0], 1) == to_be_spared(free[0])
