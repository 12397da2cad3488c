"""This file checks that a request that can not be answered has done nothing (P7).

The kernel can read its struct and not write to it: EFAULT. Made again, with a struct like all, it
does what it should have done.
"""

import errno

import pytest

from vfio_hw.fixtures.iommufd import Scene, readable_only
from vfio_hw.uapi import ioctl_errno
from vfio_hw.vfio.dma import accounted


def untold(scene: Scene, name: str, **members: int) -> int:
    """The errno of the request when there is no room for its answer."""
    with readable_only(scene.request(name, **members)) as argument:
        return ioctl_errno(scene.iommufd.fileno(), name, argument)[1]


@pytest.mark.promise("P7")
@pytest.mark.parametrize("name", ["IOMMU_IOAS_ALLOC", "IOMMU_HWPT_ALLOC"])
def test_an_object_that_can_not_be_told_of_is_none(scene, name):
    free, pinned = scene.lowest_free(), accounted()
    for _ in range(3):
        assert untold(scene, name) == errno.EFAULT
    assert scene.lowest_free() == free
    assert accounted() == pinned
    assert scene.answer(name, scene.request(name)) == 0


@pytest.mark.promise("P7")
@pytest.mark.parametrize("name", ["IOMMU_GET_HW_INFO", "IOMMU_IOAS_IOVA_RANGES"])
def test_what_can_not_be_told_is_not(scene, name):
    assert untold(scene, name) == errno.EFAULT
