"""This file checks the door to ioctl(2) with real ioctls, and the structs that go through it."""

import errno
import importlib
import os
import termios

import pytest

from vfio_hw.errors import KernelRefused, Unsupported
from vfio_hw.uapi import ffi, ioctl, ioctl_errno, lib, struct


@pytest.fixture
def eventfd():
    descriptor = os.eventfd(0)
    yield descriptor
    os.close(descriptor)


def test_a_file_that_is_not_vfio_answers_enotty(eventfd):
    assert ioctl_errno(eventfd, "VFIO_GET_API_VERSION") == (-1, errno.ENOTTY)
    info = struct("vfio_device_info")
    assert ioctl_errno(eventfd, "VFIO_DEVICE_GET_INFO", info) == (-1, errno.ENOTTY)


def test_a_closed_descriptor_answers_ebadf(eventfd):
    closed = os.dup(eventfd)
    os.close(closed)
    assert ioctl_errno(closed, "VFIO_DEVICE_RESET") == (-1, errno.EBADF)


def test_the_raising_one_says_the_call_and_its_target(eventfd):
    with pytest.raises(KernelRefused) as refused:
        ioctl(eventfd, "VFIO_SET_IOMMU", lib.VFIO_TYPE1v2_IOMMU, on="container")
    assert refused.value.errno == errno.ENOTTY
    assert str(refused.value).startswith("VFIO_SET_IOMMU on container: ENOTTY")
    with pytest.raises(KernelRefused, match=f"VFIO_DEVICE_RESET on descriptor {eventfd}: ENOTTY"):
        ioctl(eventfd, "VFIO_DEVICE_RESET")


def test_success_is_the_result_and_no_errno(monkeypatch):
    """FIONREAD writes through the pointer, so argument and result really reach the kernel."""
    reader, writer = os.pipe()
    try:
        os.write(writer, b"12345")
        pending = ffi.new("int *")
        door = importlib.import_module("vfio_hw.uapi.ioctl")
        monkeypatch.setitem(door.REQUESTS, "FIONREAD", termios.FIONREAD)
        assert ioctl_errno(reader, "FIONREAD", pending) == (0, 0)
        assert pending[0] == 5
        assert ioctl(reader, "FIONREAD", int(ffi.cast("uintptr_t", pending))) == 0
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("name", ["VFIO_DEVICE_RESTE", "VFIO_TYPE1_IOMMU", "vfio_hw_ioctl"])
def test_a_name_that_is_no_request_is_unsupported(name):
    with pytest.raises(Unsupported, match=f"the ioctl {name} was asked for"):
        ioctl_errno(0, name)


def test_a_struct_knows_its_size():
    assert struct("vfio_device_info").argsz == ffi.sizeof("struct vfio_device_info") == 24
    assert struct("iommu_ioas_map").size == ffi.sizeof("struct iommu_ioas_map") == 40
    assert struct("vfio_device_info", argsz=8).argsz == 8


def test_a_size_that_is_not_the_structs_own_is_left_alone():
    assert struct("vfio_iommu_type1_dma_map", vaddr=1).size == 0
    assert struct("vfio_bitmap").pgsize == 0


def test_a_struct_is_zeroed_but_for_what_was_given():
    info = struct("vfio_irq_info", index=lib.VFIO_PCI_REQ_IRQ_INDEX)
    assert (info.flags, info.index, info.count) == (0, 4, 0)


def test_a_flexible_array_is_counted_in_the_size():
    irqs = struct("vfio_irq_set", count=1, data=(7).to_bytes(4, "little"))
    assert irqs.argsz == 24
    assert bytes(ffi.buffer(irqs.data, 4)) == b"\x07\0\0\0"
    reset = struct("vfio_pci_hot_reset", count=2, group_fds=[3, -1])
    assert (reset.argsz, list(reset.group_fds[0:2])) == (20, [3, -1])
    assert struct("vfio_device_feature", data=16).argsz == 24
