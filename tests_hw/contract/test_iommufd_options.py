"""This file checks the options of an iommufd, and of its address spaces (P8).

Source: linux/iommufd.h, IOMMU_OPTION, IOMMU_VFIO_IOAS.
"""

import errno

import pytest

from vfio_hw.devices.edu_dma import engine
from vfio_hw.host import capability
from vfio_hw.host.forked import forked
from vfio_hw.host.limits import give_up_privileges
from vfio_hw.uapi import lib
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.dma import PAGE, Accounted, accounted, memory
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.opened import opened

LIMIT_MODE, HUGE = lib.IOMMU_OPTION_RLIMIT_MODE, lib.IOMMU_OPTION_HUGE_PAGES
BY_USER, BY_PROCESS = 0, 1
LIMIT = 4 * PAGE
TEXT = b"through the address space of the container"


@pytest.fixture
def chooses() -> None:
    """How the limit counts is for this user to choose. Source: iommufd_option_rlimit_mode()."""
    capability.need(capability.CAP_SYS_RESOURCE, "IOMMU_OPTION_RLIMIT_MODE")


@pytest.mark.usefixtures("chooses")
@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_how_the_limit_counts_is_chosen_before_there_is_anything():
    """By user unless it is chosen; EBUSY when there are objects, EINVAL for another value."""
    with Iommufd() as iommufd:
        assert iommufd.option(LIMIT_MODE) == BY_USER
        for mode in (BY_PROCESS, BY_USER, BY_PROCESS, BY_PROCESS):
            iommufd.set_option(LIMIT_MODE, mode)
            assert iommufd.option(LIMIT_MODE) == mode
        for value in (2, 1 << 32, 2**64 - 1):
            assert iommufd.set_option_errno(LIMIT_MODE, value) == errno.EINVAL
        ioas = iommufd.ioas_alloc()
        for mode in (BY_USER, BY_PROCESS):
            assert iommufd.set_option_errno(LIMIT_MODE, mode) == errno.EBUSY
        assert iommufd.option(LIMIT_MODE) == BY_PROCESS
        for of in (ioas, 999):
            assert iommufd.option_errno(LIMIT_MODE, of) in (errno.EOPNOTSUPP, errno.EINVAL)
            answer = iommufd.set_option_errno(LIMIT_MODE, BY_USER, of)
            assert answer in (errno.EOPNOTSUPP, errno.EINVAL)
        ioas.destroy()
        iommufd.set_option(LIMIT_MODE, BY_USER)
    with Iommufd() as another:
        assert another.option(LIMIT_MODE) == BY_USER


@pytest.mark.usefixtures("chooses")
@pytest.mark.promise("P8")
def test_an_ordinary_user_does_not_choose_how_its_limit_counts():
    """EPERM; it may ask."""

    def life(ready):
        with Iommufd() as iommufd:
            iommufd.set_option(LIMIT_MODE, BY_PROCESS)
            give_up_privileges(LIMIT)
            for mode in (BY_USER, BY_PROCESS):
                assert iommufd.set_option_errno(LIMIT_MODE, mode) == errno.EPERM
            assert iommufd.option(LIMIT_MODE) == BY_PROCESS
            ready()

    with Iommufd():
        pass  # a kernel without it is told here, and not in the child
    with forked(life):
        pass


@pytest.mark.usefixtures("chooses")
@pytest.mark.promise("P8")
@pytest.mark.promise("P9")
@pytest.mark.parametrize("mode", [BY_USER, BY_PROCESS], ids=["by user", "by process"])
def test_the_limit_counts_by_user_or_by_process(edu, mode):
    """Two processes of one user map as much as each may lock: together, or each for itself.

    What counts by process is locked memory of that process, what counts by user is not.
    """
    with Iommufd() as iommufd, Cdev(edu.path) as cdev, memory(LIMIT) as ours:
        iommufd.set_option(LIMIT_MODE, mode)
        cdev.bind_iommufd(iommufd)
        ioas = iommufd.ioas_alloc()
        cdev.attach(ioas)

        def first(ready):
            give_up_privileges(LIMIT)
            ioas.map_dma(LIMIT, ours.vaddr, LIMIT)
            assert ioas.map_dma_errno(4 * LIMIT, ours.vaddr, PAGE) == errno.ENOMEM
            ready()

        def second(ready):
            give_up_privileges(LIMIT)
            expected = 0 if mode == BY_PROCESS else errno.ENOMEM
            assert ioas.map_dma_errno(8 * LIMIT, ours.vaddr, LIMIT) == expected
            ready()

        with forked(first) as one:
            locked = LIMIT if mode == BY_PROCESS else 0
            assert accounted(one) == Accounted(locked, LIMIT)
            with forked(second) as other:
                assert accounted(other).pinned == (LIMIT if mode == BY_PROCESS else 0)
            assert ioas.unmap_dma(LIMIT, LIMIT) == LIMIT
            assert accounted(one) == Accounted(0, 0)
            with forked(first) as again:
                assert accounted(again) == Accounted(locked, LIMIT)


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_each_address_space_chooses_whether_pages_are_combined(device):
    """Not while a real device sees mappings; 1 unless it is chosen, and nothing but 0 and 1."""
    with opened(device.path, "iommufd") as user, memory(2 * PAGE) as ours:
        iommufd, other = user.iommufd, user.iommufd.ioas_alloc()
        for value in (0, 0, 1, 1, 0):
            assert iommufd.option(HUGE, other) == 1
            iommufd.set_option(HUGE, value, user.iommu)
            assert iommufd.option(HUGE, user.iommu) == value
        for value in (2, 1 << 32, 2**64 - 1):
            assert iommufd.set_option_errno(HUGE, value, user.iommu) == errno.EINVAL
        assert iommufd.option(HUGE, user.iommu) == 0
        user.iommu.map_dma(16 * PAGE, ours.vaddr, 2 * PAGE)
        iommufd.set_option(HUGE, 1, user.iommu)
        refused = iommufd.set_option_errno(HUGE, 0, user.iommu)
        assert refused == (0 if hasattr(device.handle, "uuid") else errno.EINVAL)
        assert iommufd.option(HUGE, user.iommu) == (1 if refused else 0)
        assert user.iommu.unmap_all() == 2 * PAGE
        assert iommufd.set_option_errno(HUGE, 0, user.iommu) == 0


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_what_is_not_of_whole_pages_must_be_combined():
    """Without combining iovas are aligned to pages; while some are not it is EADDRINUSE."""
    with Iommufd() as iommufd, memory() as ours:
        ioas = iommufd.ioas_alloc()
        ioas.map_dma(3, ours.vaddr + 3, 5)
        assert iommufd.set_option_errno(HUGE, 0, ioas) == errno.EADDRINUSE
        assert iommufd.option(HUGE, ioas) == 1
        assert ioas.iova_alignment() == 1
        assert ioas.unmap_dma(3, 5) == 5
        iommufd.set_option(HUGE, 0, ioas)
        assert ioas.iova_alignment() == PAGE
        assert ioas.map_dma_errno(3, ours.vaddr + 3, 5) == errno.EINVAL
        iommufd.set_option(HUGE, 1, ioas)
        assert ioas.map_dma_errno(3, ours.vaddr + 3, 5) == 0


@pytest.mark.promise("P8")
@pytest.mark.parametrize("huge", [0, 1])
def test_a_device_reaches_the_same_whether_pages_are_combined_or_not(reaching, huge):
    user, dma = reaching
    with memory(8 * PAGE) as ours:
        user.iommufd.set_option(HUGE, huge, user.iommu)
        user.iommu.map_dma(64 * PAGE, ours.vaddr, 8 * PAGE)
        ours.bytes[2 * PAGE - 9 : 2 * PAGE - 9 + len(TEXT)] = TEXT
        dma.copy(66 * PAGE - 9, 70 * PAGE - 7, len(TEXT))
        assert bytes(ours.bytes[6 * PAGE - 7 : 6 * PAGE - 7 + len(TEXT)]) == TEXT


@pytest.mark.promise("P8")
def test_the_address_space_of_the_container_part_is_chosen_by_its_number():
    """ENODEV while there is none, and after it was destroyed; clearing it destroys nothing."""
    with Iommufd() as iommufd:
        assert iommufd.vfio_ioas_errno() == errno.ENODEV
        iommufd.clear_vfio_ioas()
        first, second = iommufd.ioas_alloc(), iommufd.ioas_alloc()
        for ioas in (first, second, first):
            iommufd.set_vfio_ioas(ioas)
            assert iommufd.vfio_ioas().id == ioas.id
        assert iommufd.set_vfio_ioas_errno(999) == errno.ENOENT
        assert iommufd.vfio_ioas().id == first.id
        assert first.destroy_errno() == 0
        assert iommufd.vfio_ioas_errno() == errno.ENODEV
        assert iommufd.set_vfio_ioas_errno(first) == errno.ENOENT
        iommufd.set_vfio_ioas(second)
        for _ in range(2):
            iommufd.clear_vfio_ioas()
            assert iommufd.vfio_ioas_errno() == errno.ENODEV
        assert second.destroy_errno() == 0


@pytest.mark.promise("P8")
def test_a_group_takes_the_address_space_that_was_chosen(edu):
    """And makes none of its own; the device from it reaches what is mapped there."""
    with Iommufd() as iommufd, memory() as ours:
        ioas = iommufd.ioas_alloc()
        iommufd.set_vfio_ioas(ioas)
        ioas.map_dma(16 * PAGE, ours.vaddr, PAGE)
        with Group(edu.iommu_group) as group:
            group.set_container(iommufd)
            iommufd.set_iommu(lib.VFIO_TYPE1v2_IOMMU)
            assert iommufd.vfio_ioas().id == ioas.id
            with group.device(edu.address) as device:
                iommufd.clear_vfio_ioas()
                ours.bytes[: len(TEXT)] = TEXT
                engine(device).copy(16 * PAGE, 16 * PAGE + 1024, len(TEXT))
                assert bytes(ours.bytes[1024 : 1024 + len(TEXT)]) == TEXT
                assert ioas.destroy_errno() == errno.EBUSY
        assert ioas.destroy_errno() == 0
