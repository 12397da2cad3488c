"""This file checks that mappings and interrupts, come and gone many times, leave nothing (P7, P9).

Nor do those that are left to a close, or to the end of their owner.
"""

import ctypes
import errno
from collections.abc import Callable, Hashable

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.host.forked import forked
from vfio_hw.oracle.growth import leaves_nothing
from vfio_hw.vfio import irq
from vfio_hw.vfio.dma import mapped, memory
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.opened import opened

MODES = ["vfio_type1v2_iommu", "iommufd"]
# Enough that the pages of it show as pages, and as page tables.
SIZE = 2 << 20


@pytest.mark.promise("P9")
def test_attaching_to_one_address_space_and_another_leaves_nothing(device: Target):
    with opened(device.path, "iommufd") as user:

        def cycle() -> None:
            ioas = user.iommufd.ioas_alloc()
            user.cdev.attach(ioas)
            user.cdev.detach()
            ioas.destroy()

        leaves_nothing(cycle, 30)


@pytest.mark.promise("P9")
@pytest.mark.parametrize("mode", MODES)
def test_mapping_and_unmapping_leaves_nothing(device: Target, mode):
    with opened(device.path, mode) as user:

        def cycle() -> None:
            with mapped(user.iommu, SIZE):
                pass

        leaves_nothing(cycle, 20)


@pytest.mark.promise("P7")
@pytest.mark.parametrize("mode", MODES)
def test_mapping_what_is_refused_leaves_nothing(edu, mode):
    """What overlaps, and what ends in memory that may not be touched, after much that may be."""
    with (
        opened(edu.path, mode) as user,
        mapped(user.iommu, SIZE) as (there, iova),
        memory(SIZE) as half,
    ):
        forbid(half.vaddr + SIZE // 2, SIZE // 2)

        def cycle() -> Hashable:
            again = user.iommu.map_dma_errno(iova, there.vaddr, SIZE)
            return again, user.iommu.map_dma_errno(iova + SIZE, half.vaddr, SIZE)

        leaves_nothing(cycle, 30)
        assert cycle() == (errno.EEXIST, errno.EFAULT)


def forbid(vaddr: int, size: int) -> None:
    """Nobody may touch this memory of ours any more."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(vaddr), ctypes.c_size_t(size), 0) == 0


@pytest.mark.promise("P9")
@pytest.mark.parametrize("mode", MODES)
def test_a_mapping_that_is_left_to_the_close_leaves_nothing(device: Target, mode):
    def cycle() -> None:
        with memory(SIZE) as new, opened(device.path, mode) as user:
            user.iommu.map_dma(SIZE, new.vaddr, SIZE)

    leaves_nothing(cycle, 20)


@pytest.mark.promise("P9")
@pytest.mark.parametrize("mode", MODES)
def test_a_mapping_whose_owner_is_killed_leaves_nothing(device: Target, mode):
    with opened(device.path, mode):
        pass  # a kernel without this mode says so here, where it skips the test

    def own(ready: Callable[[], None]) -> None:
        with memory(SIZE) as new, opened(device.path, mode) as user:
            user.iommu.map_dma(SIZE, new.vaddr, SIZE)
            ready()

    def cycle() -> None:
        with forked(own):
            pass

    leaves_nothing(cycle, 12)


@pytest.mark.promise("P9")
def test_arming_and_disarming_each_interrupt_leaves_nothing(device: Target):
    """The last vectors are left to the close of the device."""

    def cycle() -> Hashable:
        with opened(device.path, "vfio_type1v2_iommu") as user, EventFd() as eventfd:
            indices = range(user.device.info().num_irqs)
            return tuple(index for index in indices if arms(user.device, index, eventfd))

    leaves_nothing(cycle, 20)
    assert cycle(), "no interrupt can be armed"


def arms(device, index: int, eventfd: EventFd) -> bool:
    """Arm a vector of the index, replace its eventfd, take that away, and arm it again."""
    if irq.arm_errno(device, index, [eventfd]):
        return False
    irq.arm(device, index, [eventfd])
    irq.arm(device, index, [None])
    irq.disarm_errno(device, index)
    return irq.arm_errno(device, index, [eventfd]) == 0
