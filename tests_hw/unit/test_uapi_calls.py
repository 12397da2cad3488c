"""This file checks that real ioctls are noted: what they had to do with, and how they went."""

import mmap
import os
import sys
import termios
from types import SimpleNamespace

import pytest

from vfio_hw.race.program import Slot, close, ioctl, openat
from vfio_hw.race.racer import Actor, Racer
from vfio_hw.race.spread import note_raced
from vfio_hw.uapi import calls, ffi, ioctl_errno, lib, struct
from vfio_hw.uapi.family import REQUESTS

INFO = "VFIO_DEVICE_GET_REGION_INFO"
BAR2 = "VFIO_PCI_BAR2_REGION_INDEX"


@pytest.fixture
def eventfd():
    """A file that refuses every request of VFIO's."""
    calls.taken()
    descriptor = os.eventfd(0)
    yield descriptor
    os.close(descriptor)
    calls.taken()


def test_a_call_that_is_refused_is_noted_with_what_it_named(eventfd):
    ioctl_errno(eventfd, INFO, struct("vfio_region_info", index=2))
    ioctl_errno(eventfd, "VFIO_CHECK_EXTENSION", lib.VFIO_UNMAP_ALL)
    expected = [BAR2, "VFIO_CHECK_EXTENSION", INFO, "VFIO_UNMAP_ALL"]
    assert calls.taken() == {"refused": sorted(expected)}


def test_what_was_taken_is_not_told_again(eventfd):
    ioctl_errno(eventfd, "VFIO_DEVICE_RESET")
    assert calls.taken() == {"refused": ["VFIO_DEVICE_RESET"]}
    assert calls.taken() == {}


def test_a_call_that_succeeds_is_noted_as_that(monkeypatch):
    monkeypatch.setitem(REQUESTS, "VFIO_DEVICE_RESET", termios.FIONREAD)
    calls.taken()
    reader, writer = os.pipe()
    assert ioctl_errno(reader, "VFIO_DEVICE_RESET", ffi.new("int *")) == (0, 0)
    os.close(reader)
    os.close(writer)
    assert calls.taken() == {"positive": ["VFIO_DEVICE_RESET"]}


@pytest.mark.parametrize(("answer", "outcome"), [(0, "refused"), (1, "positive")])
def test_an_extension_that_is_not_there_is_noted_as_refused(monkeypatch, answer, outcome):
    """The call succeeds, and its result is a no."""
    calls.taken()
    kernel = SimpleNamespace(vfio_hw_ioctl=lambda *_: answer)
    monkeypatch.setattr(sys.modules[ioctl_errno.__module__], "lib", kernel)
    assert ioctl_errno(0, "VFIO_CHECK_EXTENSION", lib.VFIO_UNMAP_ALL) == (answer, 0)
    assert calls.taken() == {outcome: ["VFIO_CHECK_EXTENSION", "VFIO_UNMAP_ALL"]}


def test_the_struct_may_lie_in_bare_memory(eventfd):
    memory = ffi.new("char[]", ffi.sizeof("struct vfio_region_info"))
    ffi.cast("struct vfio_region_info *", memory).index = 2
    ioctl_errno(eventfd, INFO, memory)
    assert calls.taken() == {"refused": sorted([BAR2, INFO])}


def test_memory_behind_a_short_argument_is_not_looked_at(eventfd):
    ioctl_errno(eventfd, INFO, ffi.new("uint32_t *", 4))
    assert calls.taken() == {"refused": [INFO]}


def test_a_mere_address_is_not_followed(eventfd):
    """It may be bad on purpose; one that is followed ends this process."""
    with mmap.mmap(-1, mmap.PAGESIZE) as page:
        bad = int(ffi.cast("uintptr_t", ffi.from_buffer(page)))
    for argument in (1, ffi.cast("void *", 1), ffi.cast("struct vfio_region_info *", bad)):
        ioctl_errno(eventfd, INFO, argument)
    assert calls.taken() == {"refused": [INFO]}


def test_a_request_without_a_struct_is_not_asked_for_a_number(eventfd):
    ioctl_errno(eventfd, "VFIO_CHECK_EXTENSION", ffi.new("int *"))
    assert calls.taken() == {"refused": ["VFIO_CHECK_EXTENSION"]}


def test_capabilities_are_positive():
    calls.taken()
    calls.note_capabilities(INFO, {lib.VFIO_REGION_INFO_CAP_SPARSE_MMAP: bytes(16)})
    assert calls.taken() == {"positive": ["VFIO_REGION_INFO_CAP_SPARSE_MMAP"]}


def test_ioctls_are_raced_from_the_first_decisive_call_on():
    calls.taken()
    fd = Slot("fd")
    opened = openat("/dev/null", os.O_RDONLY, into=fd)
    region = ioctl(fd, INFO, struct("vfio_region_info", index=2), decisive=True)
    before = ioctl(fd, "VFIO_DEVICE_RESET")
    after = ioctl(fd, "VFIO_CHECK_EXTENSION", lib.VFIO_UNMAP_ALL, label="ask")
    never = ioctl(Slot("empty"), "VFIO_GROUP_GET_STATUS")
    program = [before, region, after, never]
    with Racer(deadline=5.0) as racer:
        note_raced(racer.round([opened], [Actor("asker", program)], [close(fd)]))
    expected = [BAR2, INFO, "VFIO_CHECK_EXTENSION", "VFIO_UNMAP_ALL"]
    assert calls.taken() == {"raced": sorted(expected)}
