"""This file checks IOMMU_IOAS_CHANGE_PROCESS: who is counted for what is pinned (P8, P9).

Source: linux/iommufd.h, IOMMU_IOAS_CHANGE_PROCESS.
"""

import errno

import pytest

from vfio_hw.fixtures.iommufd import need
from vfio_hw.host import capability
from vfio_hw.host.forked import forked
from vfio_hw.host.limits import give_up_privileges
from vfio_hw.uapi import lib
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.dma import PAGE, Accounted, accounted, memory, memory_file
from vfio_hw.vfio.iommufd import Iommufd

SIZE = 4 * PAGE
NONE, SOME = Accounted(0, 0), Accounted(0, SIZE)
ONE_USER, ANOTHER = 65534, 65533


@pytest.fixture
def ioas(edu):
    """An address space to which an edu is attached."""
    with Iommufd() as iommufd, Cdev(edu.path) as cdev:
        cdev.bind_iommufd(iommufd)
        need(iommufd, "IOMMU_IOAS_CHANGE_PROCESS")
        new = iommufd.ioas_alloc()
        cdev.attach(new)
        yield new


@pytest.mark.promise("P8")
@pytest.mark.promise("P9")
@pytest.mark.parametrize("user", [ONE_USER, ANOTHER], ids=["same user", "another user"])
@pytest.mark.parametrize("by_process", [0, 1], ids=["by user", "by process"])
def test_what_is_pinned_counts_for_the_process_that_takes_it(edu, user, by_process):
    """And no more for the one that mapped it, which may lock as much again; then for nobody."""
    capability.need(capability.CAP_SYS_RESOURCE, "IOMMU_OPTION_RLIMIT_MODE")
    counted = Accounted(SIZE if by_process else 0, SIZE)
    with (
        Iommufd() as iommufd,
        Cdev(edu.path) as cdev,
        memory_file(SIZE) as (file, _),
    ):
        need(iommufd, "IOMMU_IOAS_CHANGE_PROCESS")
        iommufd.set_option(lib.IOMMU_OPTION_RLIMIT_MODE, by_process)
        cdev.bind_iommufd(iommufd)
        ioas, second = iommufd.ioas_alloc(), iommufd.ioas_alloc()
        cdev.attach(ioas)

        def maps(ready):
            give_up_privileges(SIZE, ONE_USER)
            ioas.map_file(SIZE, file, 0, SIZE)
            second.copy(SIZE, ioas, SIZE, SIZE)
            ready()

        def takes(ready):
            give_up_privileges(2 * SIZE, user)
            iommufd.change_process()
            iommufd.change_process()
            ready()

        def maps_again(ready):
            give_up_privileges(SIZE, ONE_USER)
            free = by_process or user != ONE_USER
            assert ioas.map_file_errno(8 * SIZE, file, 0, SIZE) == (0 if free else errno.ENOMEM)
            ready()

        with forked(maps) as one:
            assert accounted(one) == counted
            with forked(takes) as other:
                assert accounted(one) == NONE
                assert accounted(other) == counted
                with forked(maps_again):
                    pass
                assert ioas.unmap_dma(SIZE, SIZE) == SIZE
                assert accounted(other) == NONE
                assert accounted(one) == NONE


@pytest.mark.promise("P8")
@pytest.mark.promise("P9")
def test_what_a_privileged_process_pinned_counts_for_the_one_that_takes_it(ioas):
    """It is not limited, and counted all the same."""
    seen = []
    with memory_file(SIZE) as (file, _):

        def maps(ready):
            ioas.map_file(SIZE, file, 0, SIZE)
            ready()

        def takes(ready):
            give_up_privileges(SIZE, ANOTHER)
            ioas.iommufd.change_process()
            ready()

        with forked(maps) as one:
            assert accounted(one) == SOME
            with forked(takes) as other:
                seen.append((accounted(one), accounted(other)))
                assert ioas.unmap_dma(SIZE, SIZE) == SIZE
                seen.append((accounted(one), accounted(other)))
    assert seen == [(NONE, SOME), (NONE, NONE)]


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_nothing_is_taken_by_a_process_that_may_not_lock_it(ioas):
    """ENOMEM: it still counts for the one that mapped it, and for that alone."""
    with memory_file(SIZE) as (file, _):

        def maps(ready):
            give_up_privileges(SIZE, ONE_USER)
            ioas.map_file(SIZE, file, 0, SIZE)
            ready()

        def takes(ready):
            give_up_privileges(SIZE - PAGE, ANOTHER)
            for _ in range(3):
                assert ioas.iommufd.change_process_errno() == errno.ENOMEM
            ready()

        with forked(maps) as one:
            with forked(takes) as other:
                assert accounted(one) == SOME
                assert accounted(other) == NONE
            assert ioas.unmap_dma(SIZE, SIZE) == SIZE
            assert accounted(one) == NONE


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@pytest.mark.parametrize("attached", [True, False], ids=["attached", "elsewhere"])
def test_memory_that_is_no_file_keeps_its_process(ioas, attached):
    """EINVAL, in whatever address space it is mapped; with it everything keeps it."""
    iommufd, other = ioas.iommufd, ioas.iommufd.ioas_alloc()
    before = accounted()
    with memory() as ours, memory_file(SIZE) as (file, _):
        ioas.map_file(SIZE, file, 0, SIZE)
        during = accounted()
        (ioas if attached else other).map_dma(16 * SIZE, ours.vaddr, PAGE)

        def takes(ready):
            assert iommufd.change_process_errno() == errno.EINVAL
            assert accounted() == NONE
            ready()

        with forked(takes):
            pass
        assert iommufd.change_process_errno() == errno.EINVAL
        (ioas if attached else other).unmap_dma(16 * SIZE, PAGE)
        assert accounted() == during
        assert iommufd.change_process_errno() == 0
        assert accounted() == during
        ioas.unmap_all()
    assert accounted() == before


@pytest.mark.promise("P8")
def test_with_nothing_mapped_there_is_nothing_to_take():
    with Iommufd() as iommufd:
        need(iommufd, "IOMMU_IOAS_CHANGE_PROCESS")
        for _ in range(2):
            assert iommufd.change_process_errno() == 0
            iommufd.ioas_alloc()
