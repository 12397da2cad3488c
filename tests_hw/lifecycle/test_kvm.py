"""This file checks that a device takes its KVM when it is opened and keeps that until closed (P6).

What KVM is told of, and what it holds, is Documentation/virt/kvm/devices/vfio.rst; that a device
keeps what it had when it was opened, vfio_device_get_kvm_safe() in drivers/vfio/vfio_main.c.
"""

import contextlib
import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.host.forked import forked
from vfio_hw.host.modules import references
from vfio_hw.uapi import lib
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.descriptor import Descriptor
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.kvm import DEBUGFS, KvmVfio, Vm

PROMPT = 5.0


@dataclass(frozen=True)
class Way:
    """A way to a device: the file that KVM is told of, and what opens the device through it.

    A device that was opened so is closed by closing what ``open`` returned.
    """

    file: Descriptor
    open: Callable[[], Device]


@contextlib.contextmanager
def through_group(device: Target) -> Iterator[Way]:
    with Container() as container, Group(device.iommu_group) as group:
        group.set_container(container)
        container.set_iommu(lib.VFIO_TYPE1v2_IOMMU)
        yield Way(group, lambda: group.device(device.name))


@contextlib.contextmanager
def through_cdev(device: Target) -> Iterator[Way]:
    with Iommufd() as iommufd, Cdev(device.path) as cdev:

        def bind() -> Device:
            cdev.bind_iommufd(iommufd)
            return cdev

        yield Way(cdev, bind)


@pytest.fixture(params=[through_group, through_cdev], ids=["group", "cdev"])
def way(request, device: Target) -> Iterator[Way]:
    """Each device, through its group and through its character device."""
    with request.param(device) as found:
        yield found


@pytest.fixture
def group_way(mtty) -> Iterator[Way]:
    """An mtty through its group, the only way to open a device twice."""
    with through_group(Target("mtty", mtty.uuid, mtty.path, mtty)) as found:
        yield found


@pytest.fixture
def bridge(vm: Vm) -> Iterator[KvmVfio]:
    """The VFIO device of the fixture ``vm``."""
    with vm.vfio() as found:
        yield found


def closed(*descriptors: Descriptor) -> None:
    for each in descriptors:
        each.close()


@pytest.mark.promise("P6")
@pytest.mark.parametrize("ending", ["delete", "close"])
def test_a_device_keeps_its_kvm_until_it_is_closed(way: Way, vm: Vm, bridge: KvmVfio, ending):
    """KVM forgets the file when it is told to, or when the KVM device is closed."""
    bridge.add(way.file)
    with way.open() as opened_device:
        if ending == "delete":
            bridge.delete(way.file)
        closed(bridge, vm)
        assert vm.alive, "the VM of an open device is gone"
        opened_device.close()
        vm.must_end(PROMPT)


@pytest.mark.promise("P6")
def test_a_device_that_keeps_its_kvm_keeps_its_module(way: Way, vm: Vm, bridge: KvmVfio):
    bridge.add(way.file)
    before = references("kvm")
    with way.open() as opened_device:
        assert references("kvm") > before
        closed(bridge, vm)
        assert references("kvm") > 0
        opened_device.close()
    vm.must_end(PROMPT)


@pytest.mark.promise("P6")
def test_a_device_that_was_opened_before_takes_no_kvm(way: Way, vm: Vm, bridge: KvmVfio):
    with way.open():
        bridge.add(way.file)
        closed(bridge, vm)
        vm.must_end(PROMPT)


@pytest.mark.promise("P6")
def test_a_device_whose_file_was_deleted_before_takes_no_kvm(way: Way, vm: Vm, bridge: KvmVfio):
    bridge.add(way.file)
    bridge.delete(way.file)
    with way.open():
        closed(bridge, vm)
        vm.must_end(PROMPT)


@pytest.mark.promise("P6")
def test_a_device_keeps_its_kvm_while_its_group_gets_another(group_way: Way, vm: Vm):
    """Only the first open takes a KVM; one after the last close takes what is there then."""
    with Vm() as second:
        with vm.vfio() as first_bridge, second.vfio() as second_bridge:
            first_bridge.add(group_way.file)
            first = group_way.open()
            first_bridge.delete(group_way.file)
            second_bridge.add(group_way.file)
            again = group_way.open()
        closed(vm, second)
        assert vm.alive, "the VM of an open device is gone"
        second.must_end(PROMPT)
        first.close()
        assert vm.alive, "the VM of an open device is gone"
        again.close()
        vm.must_end(PROMPT)


@pytest.mark.promise("P6")
def test_a_device_opened_anew_takes_the_kvm_of_now(way: Way, vm: Vm):
    """The character device can be bound once: it takes the KVM that was set last."""
    with Vm() as second:
        with vm.vfio() as first_bridge, second.vfio() as second_bridge:
            first_bridge.add(way.file)
            if not isinstance(way.file, Cdev):
                way.open().close()
            first_bridge.delete(way.file)
            second_bridge.add(way.file)
            opened_device = way.open()
        closed(vm, second)
        vm.must_end(PROMPT)
        assert second.alive, "the VM of an open device is gone"
        opened_device.close()
        second.must_end(PROMPT)


@pytest.mark.promise("P6")
@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["first_first", "last_first"])
def test_the_last_of_two_descriptors_lets_the_kvm_go(
    group_way: Way, vm: Vm, bridge: KvmVfio, order
):
    bridge.add(group_way.file)
    both = group_way.open(), group_way.open()
    closed(bridge, vm)
    both[order[0]].close()
    assert vm.alive, "the VM went with the first of two descriptors"
    both[order[1]].close()
    vm.must_end(PROMPT)


@pytest.mark.promise("P6")
@pytest.mark.parametrize("step", ["no container", "no IOMMU"])
def test_a_refused_open_through_the_group_keeps_no_kvm(
    device: Target, vm: Vm, bridge: KvmVfio, step
):
    """Without a container the group refuses at once, without its IOMMU only on the way in."""
    with Container() as container, Group(device.iommu_group) as group:
        if step == "no IOMMU":
            group.set_container(container)
        bridge.add(group)
        assert group.device_errno(device.name) == errno.EINVAL
        closed(bridge, vm)
        vm.must_end(PROMPT)


@pytest.mark.promise("P6")
def test_a_refused_bind_keeps_no_kvm(device: Target, vm: Vm, bridge: KvmVfio):
    with Container() as no_iommufd, Cdev(device.path) as cdev:
        bridge.add(cdev)
        assert cdev.bind_iommufd_errno(no_iommufd) == errno.EBADFD
        closed(bridge, vm)
        vm.must_end(PROMPT)


@pytest.mark.promise("P6")
def test_a_bind_refused_to_a_second_opener_takes_no_kvm_from_the_first(
    device: Target, vm: Vm, bridge: KvmVfio
):
    """A character device is bound once; who tries it again is refused and changes nothing."""
    with Iommufd() as iommufd, Cdev(device.path) as first, Cdev(device.path) as second:
        bridge.add(first)
        first.bind_iommufd(iommufd)
        assert second.bind_iommufd_errno(iommufd) == errno.EINVAL
        closed(bridge, vm)
        assert vm.alive, "the VM of an open device is gone"
        first.close()
        vm.must_end(PROMPT)


@pytest.mark.promise("P6")
def test_a_bind_refused_to_a_second_opener_with_a_kvm_leaves_each_vm_its_end(
    device: Target, vm: Vm, bridge: KvmVfio
):
    with Vm() as other, other.vfio() as others_bridge:
        with Iommufd() as iommufd, Cdev(device.path) as first, Cdev(device.path) as second:
            bridge.add(first)
            others_bridge.add(second)
            first.bind_iommufd(iommufd)
            assert second.bind_iommufd_errno(iommufd) == errno.EINVAL
            closed(bridge, vm, others_bridge, other)
            assert vm.alive, "the VM of an open device is gone"
            other.must_end(PROMPT)
        vm.must_end(PROMPT)


@pytest.mark.promise("P6")
@pytest.mark.parametrize("path", [through_group, through_cdev], ids=["group", "cdev"])
def test_a_killed_owner_leaves_no_vm(kvm, device: Target, path):
    """A virtual machine and its device end with their process, in whatever order."""
    with path(device):
        pass  # a kernel without this way says so here, where it skips the test

    def own(ready: Callable[[], None]) -> None:
        with Vm() as vm, vm.vfio() as bridge, path(device) as way:
            bridge.add(way.file)
            with way.open():
                ready()

    with forked(own) as child:
        shown = list(DEBUGFS.glob(f"{child}-*"))
        assert shown, "the child's VM is not to be seen"
    assert [each for each in shown if each.exists()] == []
