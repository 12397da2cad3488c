"""This file checks what is left to a user that closes its descriptors one by one (P3, P4, P6).

Group, container or iommufd, device and KVM's VFIO device hold what they need of each other: each
does its part until it is closed itself, whatever was closed before; the last one leaves nothing.
Source: Documentation/driver-api/vfio.rst; Documentation/virt/kvm/devices/vfio.rst.
"""

import contextlib
import errno
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pytest

from vfio_hw.devices.edu_dma import engine
from vfio_hw.host.mdev import created, type_by_id
from vfio_hw.host.pci import PciFunction
from vfio_hw.uapi import lib
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.config import VENDOR
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.descriptor import Descriptor, errno_of
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.dma import PAGE, Iommu, accounted, first_iova, memory
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.kvm import KvmVfio, Vm
from vfio_hw.vfio.opened import opened

PROMPT = 5.0
TYPE = lib.VFIO_TYPE1v2_IOMMU
WORDS = 8


@dataclass(frozen=True)
class Used:
    """Everything that is open, by its name, what maps memory for the device, and who has the group.

    ``holders`` are the names of those each of which keeps the group from being opened anew.
    """

    files: dict[str, Descriptor]
    iommu: Iommu
    holders: frozenset[str]


Way = Callable[[PciFunction, KvmVfio], AbstractContextManager[Used]]


@contextlib.contextmanager
def through_group(edu: PciFunction, bridge: KvmVfio) -> Iterator[Used]:
    with Container() as container, Group(edu.iommu_group) as group:
        bridge.add(group)
        group.set_container(container)
        container.set_iommu(TYPE)
        with group.device(edu.address) as device:
            files = {"group": group, "container": container, "device": device}
            yield Used(files, container, frozenset({"group", "device", "kvm"}))


@contextlib.contextmanager
def through_compat(edu: PciFunction, bridge: KvmVfio) -> Iterator[Used]:
    """The group with an iommufd in the place of a container."""
    with Iommufd() as iommufd, Group(edu.iommu_group) as group:
        bridge.add(group)
        group.set_container(iommufd)
        iommufd.set_iommu(TYPE)
        with group.device(edu.address) as device:
            files = {"group": group, "iommufd": iommufd, "device": device}
            # The device holds the iommufd, and not the group's file as it does with a container.
            yield Used(files, iommufd, frozenset({"group", "kvm"}))


@contextlib.contextmanager
def through_cdev(edu: PciFunction, bridge: KvmVfio) -> Iterator[Used]:
    with Iommufd() as iommufd, Cdev(edu.path) as cdev:
        bridge.add(cdev)
        cdev.bind_iommufd(iommufd)
        ioas = iommufd.ioas_alloc()
        cdev.attach(ioas)
        files = {"iommufd": iommufd, "device": cdev}
        yield Used(files, ioas, frozenset({"device", "kvm"}))


def group_is_open(edu: PciFunction) -> bool:
    """Somebody has the group, or a device of it: it is opened by one at a time."""
    answer = errno_of(Group)(edu.iommu_group)
    assert answer in (0, errno.EBUSY)
    return answer == errno.EBUSY


def the_group_does_its_part(group: Group, edu: PciFunction) -> None:
    status = group.status()
    assert status.viable
    assert status.container_set
    with group.device(edu.address) as again:
        assert again.info_errno() == 0


def closed_one_by_one(way: Way, edu: PciFunction, vm: Vm, order: Sequence[str]) -> None:
    """After each close all that is open still works, and is all that holds anything."""
    before = accounted()
    with vm.vfio() as bridge, way(edu, bridge) as used, memory(2 * PAGE) as ours:
        files, iommu = used.files | {"kvm": bridge}, used.iommu
        told = files.get("group", files["device"])
        vm.close()
        base = first_iova(iommu, 3 * PAGE)
        spare = (base + 2 * PAGE, ours.vaddr, PAGE)
        iommu.map_dma(base, ours.vaddr, 2 * PAGE)
        device = files["device"]
        assert isinstance(device, Device)
        dma, config = engine(device), device.config()
        for number, name in enumerate(order, 1):
            files[name].close()
            left = set(order[number:])
            after = f"after {', '.join(order[:number])}"
            if "device" in left:
                assert config.get(VENDOR, 2) == edu.vendor, after
                word = bytes([number]) * WORDS
                ours.bytes[:WORDS] = word
                dma.copy(base, base + PAGE, WORDS)
                assert bytes(ours.bytes[PAGE : PAGE + WORDS]) == word, after
            if isinstance(group := files.get("group"), Group) and "group" in left:
                the_group_does_its_part(group, edu)
            # The container has its IOMMU from its groups; an iommufd has address spaces of its own.
            holders = left & used.holders
            if "iommufd" in left or ("container" in left and holders):
                iommu.map_dma(*spare)
                assert iommu.unmap_dma(spare[0], PAGE) == PAGE, after
            elif "container" in left:
                assert iommu.map_dma_errno(*spare) == errno.EINVAL, after
            if "kvm" in left and not told.closed:
                assert bridge.add_errno(told) == errno.EEXIST, after
            elif "kvm" in left:
                with EventFd() as other:
                    assert bridge.add_errno(other) == errno.EINVAL, after
            assert group_is_open(edu) == bool(holders), after
            if left & {"device", "kvm"}:
                assert vm.alive, after
            else:
                vm.must_end(PROMPT)
        assert accounted() == before


@pytest.mark.promise("P3")
@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    "order", [*itertools.permutations(("group", "iommufd", "device", "kvm"))], ids="-".join
)
def test_what_is_open_of_a_group_with_an_iommufd_works_until_it_is_closed_itself(edu, vm, order):
    closed_one_by_one(through_compat, edu, vm, order)
    with opened(edu.path, "iommufd_compat_type1v2") as user:
        assert user.device.info_errno() == 0


@pytest.mark.promise("P3")
@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    "order", [*itertools.permutations(("group", "container", "device", "kvm"))], ids="-".join
)
def test_what_is_open_of_a_group_works_until_it_is_closed_itself(edu, vm, order):
    closed_one_by_one(through_group, edu, vm, order)
    with opened(edu.path, "vfio_type1v2_iommu") as user:
        assert user.device.info_errno() == 0


@pytest.mark.promise("P3")
@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    "order", [*itertools.permutations(("iommufd", "device", "kvm"))], ids="-".join
)
def test_what_is_open_of_a_character_device_works_until_it_is_closed_itself(edu, vm, order):
    closed_one_by_one(through_cdev, edu, vm, order)
    with opened(edu.path, "iommufd") as user:
        assert user.device.info_errno() == 0


@pytest.mark.promise("P4")
def test_a_container_and_kvm_serve_the_next_device_when_one_has_gone(mtty, vm: Vm):
    """The container has no IOMMU in between, as before its first group."""
    with vm.vfio() as bridge, Container() as container, memory() as ours:
        with Group(mtty.iommu_group) as group:
            bridge.add(group)
            group.set_container(container)
            container.set_iommu(TYPE)
            iova = first_iova(container)
            container.map_dma(iova, ours.vaddr, PAGE)
            mtty.remove(PROMPT)
            assert container.api_version() == lib.VFIO_API_VERSION
            assert container.map_dma_errno(iova + PAGE, ours.vaddr, PAGE) == errno.EINVAL
            assert bridge.add_errno(group) == errno.EEXIST
            bridge.delete(group)
        with created(type_by_id("mtty-1")) as new, Group(new.iommu_group) as group:
            bridge.add(group)
            group.set_container(container)
            container.set_iommu(TYPE)
            with group.device(new.uuid) as device:
                assert device.info_errno() == 0
                container.map_dma(iova, ours.vaddr, PAGE)
                assert container.unmap_dma(iova, PAGE) == PAGE


@pytest.mark.promise("P4")
def test_an_address_space_serves_the_next_device_when_one_has_gone(mtty):
    """What was mapped stays mapped."""
    with Iommufd() as iommufd, memory() as ours:
        ioas = iommufd.ioas_alloc()
        with Cdev(mtty.path) as cdev:
            cdev.bind_iommufd(iommufd)
            cdev.attach(ioas)
            iova = ioas.map(None, ours.vaddr, PAGE)
        mtty.remove(PROMPT)
        assert ioas.map_dma_errno(iova, ours.vaddr, PAGE) == errno.EEXIST
        with created(type_by_id("mtty-1")) as new, Cdev(new.path) as cdev:
            cdev.bind_iommufd(iommufd)
            cdev.attach(ioas)
            assert cdev.info_errno() == 0
            assert ioas.unmap_dma(iova, PAGE) == PAGE
            ioas.map_dma(iova, ours.vaddr, PAGE)
