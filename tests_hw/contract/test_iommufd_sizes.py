"""This file checks that every request of an iommufd minds the size that its struct begins with.

What is behind the size is neither read nor written; a newer struct is taken as long as what is new
in it is zero, and refused with E2BIG when it is not. Source: linux/iommufd.h, "General ioctl
format". Promises: P8, and P7: nothing is left of what was refused.
"""

import errno
from typing import Any

import pytest

from vfio_hw.fixtures.argsz import CANARY, ending
from vfio_hw.fixtures.iommufd import GOOD, Scene, need, sizes_of
from vfio_hw.uapi import ffi
from vfio_hw.vfio.dma import PAGE


def answer(scene: Scene, name: str, size: int, tail: bytes = b"") -> int:
    """Make a good request with this size, and ``tail`` behind the struct; that stays as it is."""
    whole = sizes_of(name)[1]
    short = max(4, min(size, whole))
    argument = ffi.new(f"uint8_t[{whole + len(tail)}]")
    data: Any = ffi.buffer(argument, whole + len(tail))
    data[:whole] = bytes(ffi.buffer(scene.request(name, size=size)))
    behind = bytes([CANARY]) * (whole - short) + tail
    data[short:] = behind
    found = scene.answer(name, argument)
    assert data[short:] == behind, f"written behind {size} bytes"
    return found


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@pytest.mark.parametrize("name", GOOD)
def test_a_request_minds_its_size(scene, name):
    shortest, whole = sizes_of(name)
    free = scene.lowest_free()
    refused = [(size, b"", errno.EINVAL) for size in {0, 3, 4, shortest - 1}]
    for tail in (b"\1" + bytes(7), bytes(7) + b"\1", bytes(PAGE - 1) + b"\x80"):
        refused.append((whole + len(tail), tail, errno.E2BIG))
    for size, tail, expected in refused:
        assert answer(scene, name, size, tail) == expected, f"{size} bytes"
    # What was not destroyed is there.
    left = len(refused) if name == "IOMMU_DESTROY" else 0
    assert scene.lowest_free() == free + left
    for size, tail in (
        (shortest, b""),
        (whole, b""),
        (whole, bytes([CANARY]) * 8),
        (whole + 8, bytes(8) + bytes([CANARY]) * 8),
        (whole + PAGE, bytes(PAGE)),
    ):
        assert answer(scene, name, size, tail) == GOOD[name].answer, f"{size} bytes"


@pytest.mark.promise("P8")
@pytest.mark.parametrize("name", GOOD)
def test_a_request_whose_struct_is_not_all_there_is_refused(scene, name):
    """EFAULT: the memory behind a part of it is not ours, or none of it is."""
    shortest, whole = sizes_of(name)
    need(scene.iommufd, name)
    assert scene.answer(name, ffi.NULL) == errno.EFAULT
    for size in {4, shortest - 1, whole - 1}:
        with ending(whole.to_bytes(4, "little") + bytes(size - 4)) as argument:
            assert scene.answer(name, argument) == errno.EFAULT
