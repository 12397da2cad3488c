"""This file checks that a request that can not be answered has done nothing (P7).

The kernel can read its struct and not write to it: EFAULT. Made again, with a struct like all, it
does what it should have done.
"""

import errno

import pytest

from vfio_hw.fixtures.iommufd import Scene, readable_only
from vfio_hw.uapi import ioctl_errno, lib
from vfio_hw.vfio.dma import PAGE, accounted

BASE = 64 * PAGE
FIXED = lib.IOMMU_IOAS_MAP_FIXED_IOVA | lib.IOMMU_IOAS_MAP_READABLE
#: Requests that map, and the member that says where.
WAYS = {"IOMMU_IOAS_MAP": "iova", "IOMMU_IOAS_MAP_FILE": "iova", "IOMMU_IOAS_COPY": "dst_iova"}


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


@pytest.mark.promise("P7")
@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("chosen", ["by us", "by the kernel"])
def test_a_mapping_that_can_not_be_told_of_is_none(scene, name, chosen):
    """Least of all one whose iova the kernel chose: nobody would know where it is."""
    request = scene.request(name)
    if chosen == "by us":
        setattr(request, WAYS[name], BASE)
        request.flags = FIXED
    with readable_only(request) as argument:
        assert scene.answer(name, argument) == errno.EFAULT
    there = PAGE if name == "IOMMU_IOAS_COPY" else 0
    assert scene.ioas.unmap_all() == there, "more is mapped than what was to be copied"
    assert scene.answer(name, scene.request(name)) == 0


@pytest.mark.promise("P7")
def test_what_can_not_be_told_to_be_unmapped_is_mapped(scene):
    name = "IOMMU_IOAS_UNMAP"
    request = scene.request(name)
    with readable_only(request) as argument:
        assert scene.answer(name, argument) == errno.EFAULT
    assert scene.answer(name, request) == 0


@pytest.mark.promise("P7")
def test_an_option_that_can_not_be_told_is_not_changed(scene):
    huge, new = lib.IOMMU_OPTION_HUGE_PAGES, scene.iommufd.ioas_alloc()
    members = {"op": lib.IOMMU_OPTION_OP_SET, "object_id": new.id, "val64": 0}
    assert untold(scene, "IOMMU_OPTION", **members) == errno.EFAULT
    assert scene.iommufd.option(huge, new) == 1
