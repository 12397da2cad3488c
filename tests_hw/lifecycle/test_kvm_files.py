"""This file checks which files KVM takes from its user, how long it holds them, what it refuses.

Source: Documentation/virt/kvm/devices/vfio.rst (P8); what it holds it gives back (P6, P9).
"""

import contextlib
import errno
import os
from collections.abc import Iterator

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.host.modules import references
from vfio_hw.uapi import lib
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.descriptor import Descriptor
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.kvm import KvmVfio, Vm, api_version

CYCLES = 20


@pytest.fixture
def bridge(vm: Vm) -> Iterator[KvmVfio]:
    """The VFIO device of the fixture ``vm``."""
    with vm.vfio() as found:
        yield found


@pytest.fixture(params=["group", "cdev"])
def file(request, device: Target) -> Iterator[Descriptor]:
    """A file of VFIO's: the group of each device, and its character device."""
    with Group(device.iommu_group) if request.param == "group" else Cdev(device.path) as found:
        yield found


def busy(group: int) -> bool:
    """Whether the group is open, for whomever: it is opened by one at a time."""
    try:
        Group(group).close()
    except OSError as error:
        assert error.errno == errno.EBUSY
        return True
    return False


@pytest.mark.promise("P8")
def test_a_file_is_added_once_and_deleted_once(file, bridge: KvmVfio):
    assert bridge.delete_errno(file) == errno.ENOENT
    assert bridge.add_errno(file) == 0
    assert bridge.add_errno(file) == errno.EEXIST
    assert bridge.delete_errno(file) == 0
    assert bridge.delete_errno(file) == errno.ENOENT
    assert bridge.add_errno(file) == 0


@pytest.mark.promise("P8")
def test_no_attribute_can_be_read(file, bridge: KvmVfio):
    """EPERM, with a file or without. Source: KVM_GET_DEVICE_ATTR in virt/kvm/api.rst."""
    group = lib.KVM_DEV_VFIO_FILE
    for attr in (lib.KVM_DEV_VFIO_FILE_ADD, lib.KVM_DEV_VFIO_FILE_DEL):
        assert bridge.has_attr_errno(group, attr) == 0
        assert bridge.get_attr_errno(group, attr) == errno.EPERM
    bridge.add(file)
    assert bridge.get_attr_errno(group, lib.KVM_DEV_VFIO_FILE_ADD) == errno.EPERM


@pytest.mark.promise("P8")
def test_the_api_has_its_only_version(kvm):
    """12, for ever. Source: KVM_GET_API_VERSION in Documentation/virt/kvm/api.rst."""
    assert api_version() == 12


@pytest.mark.promise("P8")
def test_a_duplicate_descriptor_is_the_same_file(file, bridge: KvmVfio):
    with Descriptor(os.dup(file.fileno()), "duplicate") as duplicate:
        bridge.add(file)
        assert bridge.add_errno(duplicate) == errno.EEXIST
        assert bridge.delete_errno(duplicate) == 0
        assert bridge.delete_errno(file) == errno.ENOENT


@pytest.mark.promise("P8")
def test_a_file_that_another_vm_was_told_of_is_not_there(file, kvm):
    with Vm() as one, Vm() as other, one.vfio() as mine, other.vfio() as theirs:
        mine.add(file)
        assert theirs.delete_errno(file) == errno.ENOENT
        assert mine.delete_errno(file) == 0


@pytest.mark.promise("P8")
@pytest.mark.parametrize("other", [Container, Iommufd, EventFd])
def test_a_file_that_is_neither_group_nor_device_is_refused(bridge: KvmVfio, other):
    with other() as file:
        assert bridge.add_errno(file) == errno.EINVAL
        assert bridge.delete_errno(file) == errno.ENOENT


@pytest.mark.promise("P8")
def test_a_number_that_is_no_open_descriptor_is_refused(bridge: KvmVfio):
    with EventFd() as file:
        number = os.dup(file.fileno())
    os.close(number)
    for bad in (-1, number):
        assert bridge.add_errno(bad) == errno.EBADF
        assert bridge.delete_errno(bad) == errno.EBADF


@pytest.mark.promise("P8")
def test_attributes_that_the_documentation_has_not_are_refused(bridge: KvmVfio):
    known = {lib.KVM_DEV_VFIO_FILE_ADD, lib.KVM_DEV_VFIO_FILE_DEL}
    for attr in known:
        assert bridge.has_attr_errno(lib.KVM_DEV_VFIO_FILE, attr) == 0
        assert bridge.set_attr_errno(lib.KVM_DEV_VFIO_FILE, attr, addr=0) == errno.EFAULT
    unknown = {(lib.KVM_DEV_VFIO_FILE, 0), (lib.KVM_DEV_VFIO_FILE, 4), (0, 1), (2, 1)}
    for group, attr in unknown:
        assert bridge.has_attr_errno(group, attr) == errno.ENXIO
        assert bridge.set_attr_errno(group, attr) == errno.ENXIO


@pytest.mark.promise("P8")
def test_a_vm_has_one_vfio_device_at_a_time(vm: Vm):
    for _ in range(2):
        with vm.vfio():
            assert vm.vfio_errno() == errno.EBUSY


@pytest.mark.promise("P6")
def test_a_group_that_was_closed_stays_open_until_kvm_forgets_it(device: Target, bridge: KvmVfio):
    """What KVM was told of it holds: the group is open until it is deleted, and no longer."""
    with Group(device.iommu_group) as group:
        bridge.add(group)
        kept = Descriptor(os.dup(group.fileno()), group.name)
    with kept:
        bridge.delete(kept)
        assert busy(device.iommu_group), "a descriptor of it is still open"
    assert not busy(device.iommu_group)


@pytest.mark.promise("P6")
def test_a_group_that_was_closed_stays_open_until_kvms_device_is_closed(
    device: Target, vm: Vm, bridge: KvmVfio
):
    with Group(device.iommu_group) as group:
        bridge.add(group)
    assert busy(device.iommu_group), "KVM does not hold what it was told of"
    vm.close()
    assert busy(device.iommu_group), "KVM's device is still open"
    bridge.close()
    assert not busy(device.iommu_group)


@pytest.mark.promise("P9")
def test_adding_and_deleting_keeps_no_module(file, bridge: KvmVfio):
    """Each call asks VFIO's module for a function, and gives the module back."""
    before = references("vfio")
    bridge.add(file)
    held = references("vfio")
    for _ in range(CYCLES):
        assert bridge.add_errno(file) == errno.EEXIST
        bridge.delete(file)
        assert bridge.delete_errno(file) == errno.ENOENT
        bridge.add(file)
    assert references("vfio") == held
    bridge.delete(file)
    assert references("vfio") == before


@pytest.mark.promise("P9")
def test_a_refused_file_keeps_no_module(bridge: KvmVfio):
    before = references("vfio")
    with EventFd() as file:
        for _ in range(CYCLES):
            with contextlib.suppress(OSError):
                bridge.add(file)
    assert references("vfio") == before
