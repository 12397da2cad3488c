"""This file checks what vfio_hw/vfio/kvm.py does by itself, without any virtual machine."""

import errno
import os
from pathlib import Path

import pytest

from vfio_hw.errors import KernelRefused, KernelSplat, Unsupported
from vfio_hw.uapi import ffi, lib
from vfio_hw.vfio import kvm
from vfio_hw.vfio.kvm import KvmVfio, Vm


@pytest.fixture
def asked(monkeypatch) -> list:
    """What went to the kernel: each request, and what it was asked with."""
    seen = []

    def answer(fd, request, arg=0, *, on=""):
        if request == "KVM_CREATE_VM":
            return os.open("/dev/null", os.O_RDWR)
        if request == "KVM_CREATE_DEVICE":
            seen.append((request, arg.type))
            arg.fd = os.open("/dev/null", os.O_RDWR)
            return 0
        if arg.addr:
            file = ffi.cast("int32_t *", arg.addr)[0]
            seen.append((request, arg.group, arg.attr, file))
        else:
            seen.append((request, arg.group, arg.attr))
        if arg.attr == lib.KVM_DEV_VFIO_FILE_DEL:
            raise KernelRefused(errno.ENOENT, request, on)
        return 0

    monkeypatch.setattr(kvm, "ioctl", answer)
    return seen


@pytest.fixture
def vm(tmp_path, monkeypatch, asked) -> Vm:
    """A VM that is shown in a directory of ours."""
    monkeypatch.setattr(kvm, "NODE", Path("/dev/null"))
    monkeypatch.setattr(kvm, "DEBUGFS", tmp_path)
    with Vm() as made:
        (tmp_path / f"{os.getpid()}-{made.fileno()}").mkdir()
        yield made


def test_a_vm_is_alive_as_long_as_it_is_shown(vm):
    assert vm.alive
    with pytest.raises(KernelSplat, match=r"still there after 0\.01 s"):
        vm.must_end(0.01)
    vm.shown.rmdir()
    assert not vm.alive
    vm.must_end(0.01)


def test_a_machine_without_kvm_lacks_it(tmp_path, monkeypatch):
    monkeypatch.setattr(kvm, "NODE", tmp_path / "kvm")
    with pytest.raises(Unsupported, match="kvm_amd or kvm_intel"):
        Vm()
    monkeypatch.setattr(kvm, "NODE", tmp_path)
    monkeypatch.setattr(kvm, "DEBUGFS", tmp_path / "debug" / "kvm")
    with pytest.raises(Unsupported, match="mount debugfs"):
        Vm()


def test_files_are_added_and_deleted_by_their_descriptors(vm, asked):
    with vm.vfio() as bridge:
        bridge.add(vm)
        bridge.add(-1)
        assert bridge.delete_errno(vm) == errno.ENOENT
    file, added = lib.KVM_DEV_VFIO_FILE, lib.KVM_DEV_VFIO_FILE_ADD
    assert asked == [
        ("KVM_CREATE_DEVICE", lib.KVM_DEV_TYPE_VFIO),
        ("KVM_SET_DEVICE_ATTR", file, added, vm.fileno()),
        ("KVM_SET_DEVICE_ATTR", file, added, -1),
        ("KVM_SET_DEVICE_ATTR", file, lib.KVM_DEV_VFIO_FILE_DEL, vm.fileno()),
    ]


def test_attributes_are_asked_for_as_they_are(asked):
    with KvmVfio(os.open("/dev/null", os.O_RDWR), "bridge") as bridge:
        bridge.has_attr(3, 7)
        assert bridge.set_attr_errno(3, 7) == 0
    assert asked == [("KVM_HAS_DEVICE_ATTR", 3, 7), ("KVM_SET_DEVICE_ATTR", 3, 7)]


def test_the_numbers_of_the_requests_are_those_of_the_header():
    """_IOWR and _IOW carry the size of what they take, which the kernel checks."""
    assert lib.KVM_CREATE_VM == 0xAE01
    assert lib.KVM_CREATE_DEVICE == 0xC00CAEE0
    assert lib.KVM_SET_DEVICE_ATTR == 0x4018AEE1
    assert lib.KVM_HAS_DEVICE_ATTR == 0x4018AEE3
