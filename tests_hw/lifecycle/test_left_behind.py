"""This file checks what was opened before its device goes, and is used when it goes (P1, P4, P5).

A node that is only open; a group in its container, or told to KVM; a function in use that is taken
off its bus by the attribute remove of sysfs (Documentation/ABI/testing/sysfs-bus-pci).
"""

import contextlib
import errno
from collections.abc import Iterator

import pytest

from tests_hw.lifecycle.conftest import must_begin
from vfio_hw.fixtures import Target
from vfio_hw.host.binding import free, rebind
from vfio_hw.host.blocking import BlockingWrite
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.rescan import rescan_bus_of
from vfio_hw.race.catalogue.entry import RESETTABLE
from vfio_hw.uapi import lib
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.config import VENDOR
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.descriptor import errno_of
from vfio_hw.vfio.dma import PAGE, accounted, first_iova, memory
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.irq import armed
from vfio_hw.vfio.kvm import Vm
from vfio_hw.vfio.names import cdev_path
from vfio_hw.vfio.opened import opened

PROMPT, WATCHED = 5.0, 0.5
TYPE = lib.VFIO_TYPE1v2_IOMMU
MODES = ["vfio_type1v2_iommu", "iommufd_compat_type1v2", "iommufd"]


@contextlib.contextmanager
def alone(device: Target) -> Iterator[Target]:
    """VFIO has no other device of its group, which goes with this one then."""
    function = device.handle
    others = function.siblings() if isinstance(function, PciFunction) else []
    with free(*others):
        yield device


def removed(device: Target) -> None:
    with device.removal() as removal:
        removal.must_return(PROMPT)


@pytest.mark.promise("P1")
@pytest.mark.promise("P5")
@pytest.mark.parametrize("attached", [False, True], ids=["bound", "attached"])
def test_a_node_that_is_only_open_keeps_the_removal_waiting_bound_meanwhile_or_not(
    device: Target, attached
):
    """It was opened before, so that vfio_device_try_get_registration() counts it: a bind may find
    the device that is still there, whole, or be refused with ENODEV. Nobody else gets it.

    A function that can be reset is first, which pci_try_reset_function() refuses with EAGAIN while
    the unbind has the device's lock.
    """
    refusals = (errno.ENODEV, errno.EAGAIN) if device.kind in RESETTABLE else (errno.ENODEV,)
    with Iommufd() as iommufd, Cdev(device.path) as cdev, Cdev(device.path) as second:
        node = cdev_path(device.path)
        with device.removal() as removal:
            must_begin(removal, node, PROMPT)
            assert removal.wait(WATCHED) is None, "removed while its node was open"
            assert not node.exists()
            answer = cdev.bind_iommufd_errno(iommufd)
            assert answer in (0, *refusals)
            assert cdev.info_errno() == (errno.EINVAL if answer else 0)
            if not answer:
                assert cdev.config().get(VENDOR, 2) not in (0, 0xFFFF)
                assert second.bind_iommufd_errno(iommufd) == errno.EINVAL
                if attached:
                    assert cdev.attach_errno(iommufd.ioas_alloc()) == 0
            cdev.close()
            assert removal.wait(WATCHED) is None, "removed while its node was open a second time"
            second.close()
            removal.must_return(PROMPT)


@pytest.mark.promise("P1")
@pytest.mark.promise("P4")
@pytest.mark.parametrize("mode", MODES[:2])
@pytest.mark.parametrize("chosen", [True, False], ids=["with an IOMMU", "without"])
def test_a_group_whose_only_device_went_is_in_no_container(device: Target, mode, chosen):
    """Nothing asks it, and it can not be used any more. An iommufd it may have kept until now.

    The container is as new, and takes another group.
    """
    before = accounted()
    kind = Container if mode == "vfio_type1v2_iommu" else Iommufd
    with alone(device), kind() as container, Group(device.iommu_group) as group, memory() as ours:
        group.set_container(container)
        if chosen:
            container.set_iommu(TYPE)
            container.map_dma(first_iova(container), ours.vaddr, ours.size)
        removed(device)
        for _ in range(2):
            assert errno_of(group.status)() == errno.ENODEV
            assert group.device_errno(device.name) == errno.ENODEV
        left = group.unset_container_errno()
        assert left == errno.EINVAL or (left == 0 and kind is Iommufd)
        assert group.unset_container_errno() == errno.EINVAL
        for another in (container, Iommufd, Container):
            with another() if isinstance(another, type) else contextlib.nullcontext(another) as one:
                assert group.set_container_errno(one) == errno.ENODEV
        if kind is Container:
            assert accounted() == before, "mappings outlive the IOMMU"
            assert container.set_iommu_errno(TYPE) == errno.EINVAL, "the container has a group"
    assert accounted() == before


@pytest.mark.promise("P4")
@pytest.mark.promise("P6")
def test_kvm_takes_a_group_that_has_no_device_any_more_and_lets_it_go(device: Target, vm: Vm):
    """It is a file of VFIO's, for which KVM has nothing to do: kvm_vfio_file_add()."""
    with alone(device), Group(device.iommu_group) as group, vm.vfio() as bridge:
        removed(device)
        for _ in range(2):
            assert bridge.delete_errno(group) == errno.ENOENT
            assert bridge.add_errno(group) == 0
            assert bridge.add_errno(group) == errno.EEXIST
            assert bridge.delete_errno(group) == 0
        bridge.add(group)
        assert errno_of(group.status)() == errno.ENODEV
        assert group.device_errno(device.name) == errno.ENODEV
        group.close()
        vm.close()
        assert vm.alive
        bridge.close()
        vm.must_end(PROMPT)


@contextlib.contextmanager
def taken_off_its_bus(function: PciFunction) -> Iterator[BlockingWrite]:
    """The write that takes it off, not yet started. It is over after, and the function found again.

    Nobody may have the function open by then, or the removal waits for him.
    """
    removal = BlockingWrite(function.path / "remove", "1")
    try:
        yield removal
    finally:
        if removal.pid:
            with removal:
                removal.must_return(PROMPT)
        if not function.exists:
            rescan_bus_of(function.address, PROMPT)


@pytest.mark.promise("P1")
@pytest.mark.promise("P2")
@pytest.mark.promise("P3")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("device", ["edu", "e1000e", "nvme"], indirect=True)
def test_a_function_in_use_is_taken_off_its_bus_when_it_is_given_up(device: Target, mode):
    """Its owner is asked at once, and it works until he closes it; found again it is as new."""
    before, function = accounted(), device.handle
    assert isinstance(function, PciFunction)
    with taken_off_its_bus(function) as removal:
        node = cdev_path(function.path)
        with (
            memory() as ours,
            opened(function.path, mode) as user,
            armed(user.device, lib.VFIO_PCI_REQ_IRQ_INDEX) as [request],
        ):
            user.iommu.map_dma(first_iova(user.iommu), ours.vaddr, PAGE)
            removal.start()
            must_begin(removal, node, PROMPT)
            assert request.wait(PROMPT) == 1
            assert removal.wait(WATCHED) is None, "it left the bus while it was open"
            assert function.exists
            assert not node.exists()
            assert user.device.config().get(VENDOR, 2) == function.vendor
            if user.group:
                assert user.group.device_errno(function.address) == errno.ENODEV
            user.device.close()
            removal.must_return(PROMPT)
            assert not function.exists
        assert accounted() == before
    assert function.exists
    assert function.driver != "vfio-pci"
    assert function.driver_override is None
    rebind(function, "vfio-pci")
    with opened(function.path, mode) as user:
        assert user.device.config().get(VENDOR, 2) == function.vendor
