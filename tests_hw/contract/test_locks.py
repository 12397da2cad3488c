"""This file checks that a call that was refused has let go of every lock that it took (P7).

A lock that is kept shows when another task takes it: the same call, in a process of its own, which
has a deadline. That is long before the watchdog, or a lockdep that this kernel may not have.
"""

import errno
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from vfio_hw.errors import KernelSplat
from vfio_hw.fixtures import Target
from vfio_hw.host.questions import answers
from vfio_hw.uapi import lib
from vfio_hw.vfio.descriptor import errno_of
from vfio_hw.vfio.dma import PAGE, first_iova, memory
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.opened import Opened, opened

PROMPT = 5.0
Call = Callable[[], int]


def refused_again_elsewhere(call: Call, expected: int) -> None:
    """The call is refused here, then in another process, and at last here once more.

    :raises KernelSplat: it does not return there: then it would not here either.
    """
    assert call() == expected
    (answer,) = answers([lambda: str(call())], patience=PROMPT, end=time.monotonic() + PROMPT)
    if not answer.isdecimal():
        text = f"what was refused once {answer.strip('()')} in another process: a lock is kept"
        raise KernelSplat(text, oracle="hang")
    assert int(answer) == expected
    assert call() == expected


def container(user: Opened, number: int, stack: ExitStack) -> dict[str, tuple[Call, int]]:
    """Calls on a container, and its group that are refused where locks are held."""
    # The close of the container unmaps it: an unmap would wait for a lock that is kept.
    ours = stack.enter_context(memory(2 * PAGE))
    iova = first_iova(user.iommu, 2 * PAGE)
    user.iommu.map_dma(iova, ours.vaddr, 2 * PAGE)
    return {
        "SET_IOMMU": (lambda: user.container.set_iommu_errno(lib.VFIO_TYPE1_IOMMU), errno.EINVAL),
        "SET_CONTAINER": (lambda: user.group.set_container_errno(user.container), errno.EINVAL),
        "UNSET_CONTAINER": (user.group.unset_container_errno, errno.EBUSY),
        "GET_DEVICE_FD": (lambda: user.group.device_errno("no-such-device"), errno.ENODEV),
        "open of the group": (lambda: errno_of(Group)(number), errno.EBUSY),
        "MAP_DMA": (lambda: user.iommu.map_dma_errno(iova, ours.vaddr, PAGE), errno.EEXIST),
        "UNMAP_DMA": (lambda: user.iommu.unmap_dma_errno(iova, PAGE), errno.EINVAL),
    }


def iommufd(user: Opened, stack: ExitStack) -> dict[str, tuple[Call, int]]:
    """The same on a character device and its iommufd."""
    ours = stack.enter_context(memory())
    iova = first_iova(user.iommu)
    user.iommu.map_dma(iova, ours.vaddr, PAGE)
    return {
        "BIND_IOMMUFD": (lambda: user.cdev.bind_iommufd_errno(user.iommufd), errno.EINVAL),
        "ATTACH_IOMMUFD_PT": (lambda: user.cdev.attach_errno(1 << 20), errno.ENOENT),
        "DESTROY": (lambda: user.iommufd.destroy_errno(user.iommu.id), errno.EBUSY),
        "IOAS_MAP": (lambda: user.iommu.map_dma_errno(iova, ours.vaddr, PAGE), errno.EEXIST),
        "IOAS_UNMAP": (lambda: user.iommu.unmap_dma_errno(iova + PAGE, PAGE), errno.ENOENT),
    }


@pytest.mark.promise("P7")
def test_a_refused_call_of_a_group_keeps_no_lock(device: Target):
    with opened(device.path, "vfio_type1v2_iommu") as user, ExitStack() as stack:
        for call, expected in container(user, device.iommu_group, stack).values():
            refused_again_elsewhere(call, expected)


@pytest.mark.promise("P7")
def test_a_refused_call_of_a_character_device_keeps_no_lock(device: Target):
    with opened(device.path, "iommufd") as user, ExitStack() as stack:
        for call, expected in iommufd(user, stack).values():
            refused_again_elsewhere(call, expected)
