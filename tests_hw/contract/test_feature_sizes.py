"""This file checks that every request about a feature minds the argsz it is given.

An argsz that does not hold the feature's data is refused, one that holds more is taken, whatever is
there: no flag says that it means anything. Source: linux/vfio.h, "The IOCTL interface is designed
for extensibility", and the struct of each feature. Promises: P8, and P7: what was refused has
changed nothing. Of the ranges behind the struct of a dma-buf: tests_hw/pci/test_dmabuf_argument.py.
"""

import errno
import os
from typing import Any

import pytest

from vfio_hw.devices.kinds import need_features
from vfio_hw.fixtures.argsz import CANARY, ending
from vfio_hw.fixtures.features import GOOD, Stage, flags_of, stage
from vfio_hw.uapi import ffi, ioctl_errno, struct
from vfio_hw.vfio.descriptor import next_free
from vfio_hw.vfio.dma import PAGE
from vfio_hw.vfio.opened import opened

MODE = "vfio_type1v2_iommu"
HEADER = ffi.sizeof("struct vfio_device_feature")
#: By how much an argsz is longer, after the exact one, and what is behind the data.
LONGER = (
    (0, b""),
    (0, bytes([CANARY]) * 8),
    (1, bytes([CANARY])),
    (8, bytes(8) + bytes([CANARY]) * 8),
    (8, bytes([CANARY]) * 16),
    (PAGE, bytes(PAGE)),
    (PAGE, bytes([CANARY]) * PAGE),
)
each_feature = pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for name, good in GOOD.items() for kind in good.kinds]
)


def made(stage: Stage, argument: Any) -> int:
    """The errno of the request; what it opens is closed again."""
    result, answer = ioctl_errno(stage.device.fileno(), "VFIO_DEVICE_FEATURE", argument)
    if result > 0:
        os.close(result)
    return answer


def asked(stage: Stage, name: str, argsz: int, tail: bytes = b"") -> tuple[int, bytes]:
    """The errno of the good request with this argsz, and its data where something was written.

    ``tail`` behind the data stays as it is.
    """
    given = GOOD[name].data(stage) + tail
    argument = ffi.new(f"uint8_t[{HEADER + len(given)}]")
    head: Any = ffi.cast("struct vfio_device_feature *", argument)
    head.argsz, head.flags = argsz, flags_of(name)
    data: Any = ffi.buffer(argument, HEADER + len(given))
    data[HEADER:] = given
    before = bytes(data)
    found = made(stage, argument)
    kept = 0 if found else min(argsz, len(data) - len(tail))
    assert data[kept:] == before[kept:], f"{argsz} bytes: something else was written"
    written = bytes(data[HEADER : len(data) - len(tail)]) if data[:] != before else b""
    return found, written


def shown(stage: Stage, name: str) -> tuple[int, object]:
    """The next free descriptor, and what shows of the feature."""
    return next_free(stage.device), GOOD[name].seen(stage)


def assert_refuses_less(stage: Stage, name: str) -> None:
    """With each argsz that is too short, and when its data are not all there, nothing is done."""
    good = GOOD[name]
    good.ready(stage)
    before = shown(stage, name)
    for argsz in (0, HEADER - 1, *range(HEADER, HEADER + good.least)):
        assert asked(stage, name, argsz)[0] == errno.EINVAL, f"{argsz} bytes"
    whole = struct("vfio_device_feature", flags=flags_of(name), data=good.data(stage))
    data = bytes(ffi.buffer(whole))
    assert made(stage, ffi.NULL) == errno.EFAULT
    for size in {4, HEADER - 1, *range(HEADER, len(data), 4), len(data) - 1}:
        if size < len(data):
            with ending(data[:size]) as argument:
                assert made(stage, argument) == errno.EFAULT, f"{size} bytes are there"
    assert shown(stage, name) == before


def effect(stage: Stage, name: str, more: int, tail: bytes) -> tuple[bytes, object]:
    """What a request whose argsz holds so much more has written, and what shows of it.

    What is behind the argsz stays as it is, and the request is not one that does nothing.
    """
    good = GOOD[name]
    good.ready(stage)
    before = good.seen(stage)
    found, written = asked(stage, name, HEADER + len(good.data(stage)) + more, tail)
    assert found == 0, f"{more} bytes more"
    after = good.seen(stage)
    assert before is None or after != before, f"{more} bytes more: nothing was done"
    return written, after


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@each_feature
def test_a_feature_that_gets_less_than_its_data_does_nothing(request, kind, name):
    """EINVAL for the argsz; EFAULT where the memory behind a part of the data is not ours."""
    path = request.getfixturevalue(kind).path
    with opened(path, MODE) as user, stage(user.device, path) as scene:
        need_features(user.device, kind, name.partition(" ")[0])
        assert_refuses_less(scene, name)


@pytest.mark.promise("P8")
@each_feature
def test_a_feature_takes_an_argsz_that_is_longer(request, kind, name):
    """And does what it does for one that is exact, each time for another user of the device."""
    path = request.getfixturevalue(kind).path
    effects = []
    for more, tail in LONGER:
        with opened(path, MODE) as user, stage(user.device, path) as scene:
            need_features(user.device, kind, name.partition(" ")[0])
            effects.append(effect(scene, name, more, tail))
    assert effects == effects[:1] * len(LONGER)
