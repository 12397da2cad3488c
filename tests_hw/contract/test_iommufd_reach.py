"""This file checks that a device reaches what an IO address space has mapped, and no more (P8).

The DMA engine of edu moves bytes from one mapping to another; what it must not reach stays as it
was, and the IOMMU reports the attempt.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from vfio_hw.devices.edu_dma import MOST, REACH
from vfio_hw.fixtures.iommufd import knows, need
from vfio_hw.uapi import lib
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.dma import PAGE, accounted, memory, memory_file
from vfio_hw.vfio.opened import Opened, opened

WAYS = ["map", "map_file", "copy"]
READ, WRITE = lib.VFIO_DMA_MAP_FLAG_READ, lib.VFIO_DMA_MAP_FLAG_WRITE
SECRET = bytes(range(1, 256)) * 4
SIZE = 3 * PAGE
assert len(SECRET) <= MOST


@dataclass(frozen=True)
class Shown:
    """Memory of ours, and where devices see it."""

    bytes: memoryview
    iova: int


@contextlib.contextmanager
def shown(
    user: Opened, way: str, iova: int | None = None, flags: int = READ | WRITE
) -> Iterator[Shown]:
    """Three new pages, mapped in one of the ways: the last two of a file of four, or a copy."""
    ioas = user.iommu
    if way == "map_file":
        need(user.iommufd, "IOMMU_IOAS_MAP_FILE")
        with memory_file(4 * PAGE) as (file, view), view[PAGE:] as ours:
            yield Shown(ours, ioas.map_file(iova, file, PAGE, SIZE, flags))
        return
    with memory(SIZE) as ours:
        if way == "map":
            yield Shown(ours.bytes, ioas.map(iova, ours.vaddr, SIZE, flags))
            return
        other = user.iommufd.ioas_alloc()
        other.map_dma(5 * PAGE, ours.vaddr, SIZE)
        yield Shown(ours.bytes, ioas.copy(iova, other, 5 * PAGE, SIZE, flags))
        assert other.unmap_all() == SIZE
        other.destroy()


def told(memory: memoryview) -> bool:
    """Some of the secret is there."""
    return any(SECRET[at : at + 8] in bytes(memory) for at in (0, len(SECRET) // 2))


def ways(user: Opened) -> list[str]:
    """Those that this kernel has."""
    file = knows(user.iommufd, "IOMMU_IOAS_MAP_FILE")
    return [way for way in WAYS if file or way != "map_file"]


@pytest.mark.promise("P8")
@pytest.mark.parametrize("way", WAYS)
def test_a_device_reaches_what_is_mapped_where_it_is_mapped(reaching, way):
    """At an iova of ours and at one of the kernel's choice, each byte of each page."""
    user, engine = reaching
    ours = REACH - 16 * PAGE
    with shown(user, way, ours) as source, shown(user, way) as target:
        assert source.iova == ours
        assert target.iova % PAGE == 0
        source.bytes[2 * PAGE - 5 : 2 * PAGE - 5 + len(SECRET)] = SECRET
        engine.copy(source.iova + 2 * PAGE - 5, target.iova + PAGE + 7, len(SECRET))
        expected = bytes(PAGE + 7) + SECRET
        assert bytes(target.bytes) == expected + bytes(SIZE - len(expected))


@pytest.mark.promise("P8")
@pytest.mark.iommu_faults("edu")
def test_a_device_does_not_reach_what_was_unmapped(reaching):
    user, engine = reaching
    with shown(user, "map") as witness:
        for way in ways(user):
            with shown(user, way) as source, shown(user, way) as target:
                source.bytes[: len(SECRET)] = SECRET
                engine.copy(source.iova, target.iova, len(SECRET))
                assert bytes(target.bytes[: len(SECRET)]) == SECRET, way
                target.bytes[: len(SECRET)] = bytes(len(SECRET))
                assert user.iommu.unmap_dma(target.iova, SIZE) == SIZE
                engine.store(target.iova, len(SECRET))
                assert bytes(target.bytes) == bytes(SIZE), way
                assert user.iommu.unmap_dma(source.iova, SIZE) == SIZE
                engine.copy(source.iova, witness.iova, len(SECRET))
                assert not told(witness.bytes), way


@pytest.mark.promise("P8")
@pytest.mark.iommu_faults("edu")
def test_a_device_does_with_a_mapping_only_what_it_may(reaching):
    """Writes nothing that it may only read, and reads nothing that it may only write."""
    user, engine = reaching
    with shown(user, "map") as free:
        for way in ways(user):
            with shown(user, way, flags=READ) as source, shown(user, way, flags=WRITE) as target:
                source.bytes[: len(SECRET)] = SECRET
                engine.copy(source.iova, target.iova, len(SECRET))
                assert bytes(target.bytes[: len(SECRET)]) == SECRET, way
                engine.store(source.iova + PAGE, len(SECRET))
                assert bytes(source.bytes) == SECRET + bytes(SIZE - len(SECRET)), way
                target.bytes[PAGE : PAGE + len(SECRET)] = SECRET
                engine.copy(target.iova + PAGE, free.iova, len(SECRET))
                assert not told(free.bytes), way
                for mapping in (source, target):
                    assert user.iommu.unmap_dma(mapping.iova, SIZE) == SIZE


@pytest.mark.promise("P8")
def test_a_copy_does_not_need_what_it_was_copied_from(reaching):
    """Its mapping goes, its address space goes, and the device reaches the memory as before."""
    user, engine = reaching
    with memory() as ours, shown(user, "map") as target:
        other = user.iommufd.ioas_alloc()
        other.map_dma(PAGE, ours.vaddr, PAGE)
        iova = user.iommu.copy(None, other, PAGE, PAGE)
        assert other.unmap_dma(PAGE, PAGE) == PAGE
        other.destroy()
        ours.bytes[: len(SECRET)] = SECRET
        engine.copy(iova, target.iova, len(SECRET))
        assert bytes(target.bytes[: len(SECRET)]) == SECRET


@pytest.mark.promise("P9")
def test_memory_that_two_devices_see_through_a_copy_is_pinned_once(edu, e1000e):
    """Source: linux/iommufd.h, IOMMU_IOAS_COPY; while one has it, it counts, in any order."""
    with opened(edu.path, "iommufd") as user, Cdev(e1000e.path) as second, memory(SIZE) as ours:
        second.bind_iommufd(user.iommufd)
        other = user.iommufd.ioas_alloc()
        second.attach(other)
        before = accounted().pinned
        for first, last in ((user.iommu, other), (other, user.iommu)):
            iova = first.map(None, ours.vaddr, SIZE)
            assert accounted().pinned - before == SIZE
            last.copy(2 * SIZE, first, iova, SIZE)
            assert accounted().pinned - before == SIZE
            first.unmap_dma(iova, SIZE)
            assert accounted().pinned - before == SIZE
            last.unmap_dma(2 * SIZE, SIZE)
            assert accounted().pinned == before


@pytest.mark.promise("P9")
@pytest.mark.parametrize("way", WAYS)
def test_mapping_pins_for_a_real_device_and_not_for_a_mediated_one(request, way):
    """Nothing is pinned either while nothing is attached; attaching pins what is mapped already."""
    edu, mtty = request.getfixturevalue("edu"), request.getfixturevalue("mtty")
    before = accounted().pinned
    with opened(mtty.path, "iommufd") as user, Cdev(edu.path) as cdev, shown(user, way):
        assert accounted().pinned == before
        cdev.bind_iommufd(user.iommufd)
        assert accounted().pinned == before
        cdev.attach(user.iommu)
        assert accounted().pinned - before == SIZE
        cdev.detach()
        assert accounted().pinned == before
        cdev.attach(user.iommu)
        assert accounted().pinned - before == SIZE
    assert accounted().pinned == before


@pytest.mark.promise("P9")
def test_a_file_stays_pinned_when_it_is_closed_and_cut(reaching):
    """The device goes on to reach the pages that it had when it was mapped."""
    user, engine = reaching
    need(user.iommufd, "IOMMU_IOAS_MAP_FILE")
    before = accounted().pinned
    with shown(user, "map") as target:
        during = accounted().pinned
        with memory_file(2 * PAGE) as (file, view):
            view[: len(SECRET)] = SECRET
            iova = user.iommu.map_file(None, file, 0, 2 * PAGE)
            os.ftruncate(file.fileno(), 0)
        assert accounted().pinned - during == 2 * PAGE
        engine.copy(iova, target.iova, len(SECRET))
        assert bytes(target.bytes[: len(SECRET)]) == SECRET
        assert user.iommu.unmap_dma(iova, 2 * PAGE) == 2 * PAGE
    assert user.iommu.unmap_all() == SIZE
    assert accounted().pinned == before
