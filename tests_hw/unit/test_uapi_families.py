"""This file checks that no constant of the headers is forgotten, and what data of features say."""

import os
from collections import Counter

import pytest

from vfio_hw.errors import KernelRefused
from vfio_hw.uapi import calls, ffi, ioctl_errno, lib, struct
from vfio_hw.uapi.bare import BARE, bare
from vfio_hw.uapi.families import FAMILIES, FOUND, SUBTYPES, TYPES
from vfio_hw.uapi.family import CONSTANTS
from vfio_hw.uapi.items import inside
from vfio_hw.vfio.descriptor import Descriptor
from vfio_hw.vfio.fault import FaultQueue

EVERY = (*FAMILIES, *FOUND.values(), TYPES, SUBTYPES)
FEATURE = "VFIO_DEVICE_FEATURE"
STATE = lib.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE
GET, SET = lib.VFIO_DEVICE_FEATURE_GET, lib.VFIO_DEVICE_FEATURE_SET
PROBE = lib.VFIO_DEVICE_FEATURE_PROBE


def word(value: int, room: int = 8) -> bytes:
    """The data of a feature that begin with this number."""
    return bytes(ffi.buffer(ffi.new("uint32_t *", value))) + bytes(room - 4)


@pytest.fixture
def file():
    """A file that refuses every request of VFIO's."""
    calls.taken()
    with Descriptor(os.eventfd(0), "an eventfd") as descriptor:
        yield descriptor
    calls.taken()


def test_every_constant_is_of_one_family_or_has_a_reason_why_it_is_of_none():
    """One that is new in the declarations, and in neither, is told by its name."""
    places = Counter(name for family in EVERY for name in family.values)
    places.update(name for name, _ in bare())
    assert [name for name in CONSTANTS if places[name] != 1] == []
    assert len(places) == len(CONSTANTS) > 250


def test_no_family_and_no_reason_is_of_nothing():
    assert [family.title for family in EVERY if not family.values] == []
    used = {why for _, why in bare()}
    assert [pattern for pattern, why in BARE.items() if why not in used] == []


@pytest.mark.parametrize("outcome", ["positive", "refused", "raced"])
def test_a_state_that_is_set_is_in_the_data(outcome):
    found = inside(STATE | SET, word(lib.VFIO_DEVICE_STATE_RESUMING), outcome)
    assert list(found) == ["VFIO_DEVICE_STATE_RESUMING"]


def test_a_state_is_told_by_a_call_that_succeeds():
    data = word(lib.VFIO_DEVICE_STATE_STOP)
    assert list(inside(STATE | GET, data, "positive")) == ["VFIO_DEVICE_STATE_STOP"]
    for outcome in ("refused", "raced"):
        assert list(inside(STATE | GET, data, outcome)) == []


def test_what_migration_can_do_is_several_bits():
    flags = lib.VFIO_MIGRATION_STOP_COPY | lib.VFIO_MIGRATION_P2P
    number = lib.VFIO_DEVICE_FEATURE_MIGRATION | GET
    expected = ["VFIO_MIGRATION_STOP_COPY", "VFIO_MIGRATION_P2P"]
    assert list(inside(number, word(flags), "positive")) == expected


@pytest.mark.parametrize(
    ("flags", "data"),
    [
        (STATE | SET | PROBE, word(1)),
        (STATE | SET, b""),
        (STATE | SET, bytes(3)),
        (STATE | SET, word(lib.VFIO_DEVICE_STATE_NR)),
        (lib.VFIO_DEVICE_FEATURE_DMA_BUF | SET, word(1)),
    ],
)
def test_other_data_say_nothing(flags, data):
    assert list(inside(flags, data, "positive")) == []


def test_the_data_of_a_real_call_are_looked_at(file):
    request = struct("vfio_device_feature", flags=STATE | SET, data=word(4))
    ioctl_errno(file.fileno(), FEATURE, request)
    name = f"{FEATURE}_MIG_DEVICE_STATE"
    expected = {FEATURE, name, f"{name} SET", "VFIO_DEVICE_STATE_RESUMING"}
    assert calls.taken() == {"refused": sorted(expected)}


@pytest.mark.parametrize("data", [b"", word(4)[:3]])
def test_data_that_are_not_there_are_not_looked_at(file, data):
    ioctl_errno(file.fileno(), FEATURE, struct("vfio_device_feature", flags=STATE | SET, data=data))
    name = f"{FEATURE}_MIG_DEVICE_STATE"
    assert calls.taken() == {"refused": sorted([FEATURE, name, f"{name} SET"])}


def test_an_answer_to_a_fault_is_noted_as_it_went():
    """Here a pipe takes it; one that has no reader does not."""
    calls.taken()
    codes = (lib.IOMMUFD_PAGE_RESP_SUCCESS, 99, lib.IOMMUFD_PAGE_RESP_INVALID)
    answers = [ffi.new("struct iommu_hwpt_page_response *", {"code": code}) for code in codes]
    data = b"".join(bytes(ffi.buffer(each)) for each in answers)
    reader, writer = os.pipe()
    # A queue is made by an iommufd, and there is none here.
    queue = FaultQueue.__new__(FaultQueue)
    Descriptor.__init__(queue, writer, "a pipe")
    with queue:
        assert queue.respond(data) == len(data)
        expected = ["IOMMUFD_PAGE_RESP_INVALID", "IOMMUFD_PAGE_RESP_SUCCESS"]
        assert calls.taken() == {"positive": expected}
        os.close(reader)
        with pytest.raises(KernelRefused):
            queue.respond(data[:8])
        assert calls.taken() == {"refused": expected[1:]}
