"""This file checks that requests of an iommufd refuse fields that mean nothing, and wrong numbers.

EOPNOTSUPP for a flag or a kind that is none and for what must be zero, ENOENT for the number of
nothing. Source: linux/iommufd.h, "General ioctl format". Promises: P8, and P7: nothing is left.
"""

import errno
from typing import Any

import pytest

from vfio_hw.fixtures.iommufd import GOOD, NOBODY, Scene
from vfio_hw.uapi import ioctl_errno, lib
from vfio_hw.vfio.dma import PAGE

BASE = ord(";") << 8
NO_FLAGS = [1, 2, 1 << 16, 1 << 31]
NO_MAP_FLAGS = [1 << 3, 1 << 16, 1 << 31]
# Those of which a good one is about a mapping, made for it.
OF_MAPPINGS = ("IOMMU_IOAS_COPY", "IOMMU_IOAS_NOIOMMU_GET_PA")
RESERVED = [1, 1 << 8, 1 << 31]
SHORT = [1, 1 << 8, 1 << 15]
MEANINGLESS: list[tuple[str, str, list[Any]]] = [
    ("IOMMU_IOAS_ALLOC", "flags", NO_FLAGS),
    ("IOMMU_IOAS_IOVA_RANGES", "__reserved", RESERVED),
    ("IOMMU_IOAS_ALLOW_IOVAS", "__reserved", RESERVED),
    ("IOMMU_IOAS_MAP", "flags", NO_MAP_FLAGS),
    ("IOMMU_IOAS_MAP", "__reserved", RESERVED),
    ("IOMMU_IOAS_MAP_FILE", "flags", NO_MAP_FLAGS),
    ("IOMMU_IOAS_NOIOMMU_GET_PA", "flags", NO_FLAGS),
    ("IOMMU_IOAS_NOIOMMU_GET_PA", "__reserved", RESERVED),
    ("IOMMU_IOAS_COPY", "flags", NO_MAP_FLAGS),
    ("IOMMU_OPTION", "__reserved", SHORT),
    ("IOMMU_OPTION", "option_id", [2, NOBODY, 2**32 - 1]),
    ("IOMMU_OPTION", "op", [2, NOBODY, 2**16 - 1]),
    ("IOMMU_VFIO_IOAS", "__reserved", SHORT),
    ("IOMMU_VFIO_IOAS", "op", [3, NOBODY, 2**16 - 1]),
    ("IOMMU_IOAS_CHANGE_PROCESS", "__reserved", RESERVED),
    ("IOMMU_HWPT_ALLOC", "flags", [1 << 4, 1 << 16, 1 << 31]),
    ("IOMMU_HWPT_ALLOC", "__reserved", RESERVED),
    ("IOMMU_HWPT_ALLOC", "__reserved2", RESERVED),
    ("IOMMU_GET_HW_INFO", "flags", [1 << 1, 1 << 16, 1 << 31]),
    ("IOMMU_GET_HW_INFO", "__reserved", [[1, 0, 0], [0, 1, 0], [0, 0, 128]]),
    ("IOMMU_HWPT_SET_DIRTY_TRACKING", "flags", [2, 3, 1 << 31]),
    ("IOMMU_HWPT_GET_DIRTY_BITMAP", "flags", [2, 3, 1 << 31]),
    ("IOMMU_HWPT_GET_DIRTY_BITMAP", "__reserved", RESERVED),
    ("IOMMU_HWPT_INVALIDATE", "__reserved", RESERVED),
    ("IOMMU_FAULT_QUEUE_ALLOC", "flags", NO_FLAGS),
    ("IOMMU_VIOMMU_ALLOC", "flags", NO_FLAGS),
    ("IOMMU_VIOMMU_ALLOC", "type", [0, 2, 0xFFFF]),
    ("IOMMU_VEVENTQ_ALLOC", "flags", NO_FLAGS),
    ("IOMMU_VEVENTQ_ALLOC", "__reserved", RESERVED),
    ("IOMMU_VEVENTQ_ALLOC", "type", [0]),
    ("IOMMU_HW_QUEUE_ALLOC", "flags", NO_FLAGS),
    ("IOMMU_HW_QUEUE_ALLOC", "type", [0]),
]
# Requests, members that are the number of an object, and the kinds that the object may be of.
NUMBERS: list[tuple[str, str, set[str]]] = [
    ("IOMMU_IOAS_ALLOW_IOVAS", "ioas_id", {"ioas"}),
    ("IOMMU_IOAS_IOVA_RANGES", "ioas_id", {"ioas"}),
    ("IOMMU_IOAS_MAP", "ioas_id", {"ioas"}),
    ("IOMMU_IOAS_MAP_FILE", "ioas_id", {"ioas"}),
    ("IOMMU_IOAS_NOIOMMU_GET_PA", "ioas_id", {"ioas"}),
    ("IOMMU_IOAS_UNMAP", "ioas_id", {"ioas"}),
    ("IOMMU_IOAS_COPY", "dst_ioas_id", {"ioas"}),
    ("IOMMU_IOAS_COPY", "src_ioas_id", {"ioas"}),
    ("IOMMU_OPTION", "object_id", {"ioas"}),
    ("IOMMU_VFIO_IOAS", "ioas_id", {"ioas"}),
    ("IOMMU_HWPT_ALLOC", "dev_id", {"device"}),
    ("IOMMU_HWPT_ALLOC", "pt_id", {"ioas", "table"}),
    ("IOMMU_GET_HW_INFO", "dev_id", {"device"}),
    ("IOMMU_HWPT_SET_DIRTY_TRACKING", "hwpt_id", {"table"}),
    ("IOMMU_HWPT_GET_DIRTY_BITMAP", "hwpt_id", {"table"}),
    ("IOMMU_HWPT_INVALIDATE", "hwpt_id", set()),
    ("IOMMU_VIOMMU_ALLOC", "dev_id", {"device"}),
    ("IOMMU_VDEVICE_ALLOC", "viommu_id", set()),
    ("IOMMU_VEVENTQ_ALLOC", "viommu_id", set()),
    ("IOMMU_HW_QUEUE_ALLOC", "viommu_id", set()),
]


def named(rows):
    return [f"{row[0].removeprefix('IOMMU_')}-{row[1]}" for row in rows]


def sound(scene: Scene, name: str) -> None:
    """The request, when nothing is wrong with it, answers as it should."""
    assert scene.answer(name, scene.request(name)) == GOOD[name].answer


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@pytest.mark.parametrize(("name", "member", "values"), MEANINGLESS, ids=named(MEANINGLESS))
def test_what_means_nothing_is_not_supported(scene, name, member, values):
    free = scene.lowest_free()
    for value in values:
        argument = scene.request(name, **{member: value})
        assert scene.answer(name, argument) == errno.EOPNOTSUPP, f"{value}"
    assert scene.lowest_free() == free
    # What a good one is about was mapped each time, and nothing else.
    there = len(values) * PAGE if name in OF_MAPPINGS else 0
    assert scene.ioas.unmap_all() == there
    sound(scene, name)


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@pytest.mark.parametrize(("name", "member", "kinds"), NUMBERS, ids=named(NUMBERS))
def test_a_number_must_be_of_an_object_of_the_right_kind(scene, name, member, kinds):
    """ENOENT for no object; for one of another kind EINVAL would say the same."""
    free = scene.lowest_free()
    for number in (0, free, NOBODY, 1 << 31, 2**32 - 1):
        argument = scene.request(name, **{member: number})
        assert scene.answer(name, argument) == errno.ENOENT, f"{number}"
    for kind in scene.ids.keys() - kinds:
        argument = scene.request(name, **{member: scene.ids[kind]})
        assert scene.answer(name, argument) in (errno.ENOENT, errno.EINVAL), kind
    assert scene.lowest_free() == free
    sound(scene, name)


@pytest.mark.promise("P8")
def test_what_is_destroyed_is_there_and_not_in_use(scene):
    """ENOENT for what is not, EBUSY for what is; a destroyed number is nobody's."""
    for number in (0, scene.lowest_free(), NOBODY, 1 << 31, 2**32 - 1):
        assert scene.iommufd.destroy_errno(number) == errno.ENOENT
    for kind in ("device", "access", "ioas", "table", "fault"):
        assert scene.iommufd.destroy_errno(scene.ids[kind]) == errno.EBUSY, kind
    new = scene.iommufd.ioas_alloc()
    assert new.destroy_errno() == 0
    assert new.destroy_errno() == errno.ENOENT


@pytest.mark.promise("P8")
def test_a_page_table_is_not_made_of_what_is_no_address_space(scene):
    """Nor for a queue of faults that is none."""
    name, flag = "IOMMU_HWPT_ALLOC", lib.IOMMU_HWPT_FAULT_ID_VALID
    free = scene.lowest_free()
    for kind in ("device", "access", "fault"):
        argument = scene.request(name, pt_id=scene.ids[kind])
        assert scene.answer(name, argument) in (errno.ENOENT, errno.EINVAL), kind
    nobody = scene.answer(name, scene.request(name, flags=flag, fault_id=NOBODY))
    if nobody == errno.EOPNOTSUPP:
        # This IOMMU has no queues of faults; a good one is refused too.
        good = scene.request(name, flags=flag, fault_id=scene.ids["fault"])
        assert scene.answer(name, good) == errno.EOPNOTSUPP
    else:
        for number in (0, NOBODY, 2**32 - 1):
            argument = scene.request(name, flags=flag, fault_id=number)
            assert scene.answer(name, argument) == errno.ENOENT
        for kind in scene.ids.keys() - {"fault"}:
            argument = scene.request(name, flags=flag, fault_id=scene.ids[kind])
            assert scene.answer(name, argument) in (errno.ENOENT, errno.EINVAL), kind
    assert scene.lowest_free() == free


@pytest.mark.promise("P8")
def test_what_a_virtual_iommu_would_have_must_be_sound(scene):
    """Whether there is one or not."""
    last = 2**64 - 1
    for name, members, expected in (
        ("IOMMU_HW_QUEUE_ALLOC", {"length": 0}, {errno.EINVAL}),
        ("IOMMU_HW_QUEUE_ALLOC", {"nesting_parent_iova": last}, {errno.EOVERFLOW}),
        ("IOMMU_HW_QUEUE_ALLOC", {"nesting_parent_iova": PAGE, "length": last}, {errno.EOVERFLOW}),
        ("IOMMU_VEVENTQ_ALLOC", {"veventq_depth": 0}, {errno.EINVAL, errno.ENOENT}),
        ("IOMMU_VDEVICE_ALLOC", {"dev_id": NOBODY}, {errno.ENOENT}),
        ("IOMMU_VDEVICE_ALLOC", {"virt_id": last}, {errno.ENOENT}),
    ):
        assert scene.answer(name, scene.request(name, **members)) in expected, f"{name} {members}"


@pytest.mark.promise("P8")
def test_a_request_that_is_none_of_an_iommufd_is_not_known(scene):
    """ENOTTY: for a number that no request has, and one that has another direction."""
    argument = scene.request("IOMMU_IOAS_ALLOC")
    for number in (0xFF, 0x7F):
        # Our one door knows requests by their names, and this one has none.
        assert lib.vfio_hw_ioctl(scene.iommufd.fileno(), BASE | number, argument) == -errno.ENOTTY
    for direction in (1, 2, 3):
        wrong = direction << 30 | lib.IOMMU_IOAS_ALLOC
        assert lib.vfio_hw_ioctl(scene.iommufd.fileno(), wrong, argument) == -errno.ENOTTY
    assert ioctl_errno(scene.iommufd.fileno(), "VFIO_DEVICE_RESET")[1] == errno.ENOTTY
