"""This file checks that what is done and undone many times leaves no more than done once (P3, P9).

A single object that is lost hides in the noise of a machine; one in every cycle does not.
"""

import errno
import uuid
from collections.abc import Hashable

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.host import modules
from vfio_hw.host.binding import rebind, unbind
from vfio_hw.host.mdev import created, type_by_id
from vfio_hw.host.modules import delete_errno
from vfio_hw.oracle.growth import leaves_nothing
from vfio_hw.uapi import lib
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.kvm import Vm
from vfio_hw.vfio.opened import opened

KINDS = ["mtty-1", "mtty-2", "mdpy-vga", "mdpy-xga", "mdpy-hd", "mbochs-small", "mbochs-large"]
# What is said when no instance is left: EUSERS by mdev's own count, ENOSPC by a driver's.
LIMITED = {"mdpy-vga": errno.EUSERS, "mbochs-large": errno.ENOSPC}
MODES = ["vfio_type1v2_iommu", "iommufd"]


@pytest.mark.promise("P3")
@pytest.mark.parametrize("identity", KINDS)
def test_creating_and_removing_mediated_devices_leaves_nothing(identity):
    kind, name = type_by_id(identity), str(uuid.uuid4())

    def cycle() -> Hashable:
        with created(kind, name):
            return kind.available_instances

    leaves_nothing(cycle, 30)


@pytest.mark.promise("P3")
def test_unloading_a_parent_that_had_devices_leaves_nothing(own_modules):
    """The types that it offered go with it."""

    def cycle() -> Hashable:
        modules.load("mdpy")
        with created(type_by_id("mdpy-vga")):
            pass
        return delete_errno("mdpy")

    leaves_nothing(cycle, 12)


@pytest.mark.promise("P3")
@pytest.mark.parametrize(("identity", "answer"), LIMITED.items(), ids=list(LIMITED))
def test_creating_where_no_instance_is_left_leaves_nothing(identity, answer):
    """Each is refused at another depth: by mdev's own count, and by the driver's first step."""
    kind = type_by_id(identity)
    made = [kind.create(str(uuid.uuid4())) for _ in range(kind.available_instances)]
    refused = str(uuid.uuid4())
    try:
        leaves_nothing(lambda: kind.create_errno(refused), 60)
        assert kind.create_errno(refused) == answer
        made.pop().remove()
        with created(kind, refused):
            assert kind.available_instances == 0
    finally:
        for mdev in made:
            mdev.remove()


@pytest.mark.promise("P3")
def test_creating_under_a_uuid_that_is_taken_leaves_nothing(mtty):
    kind = type_by_id("mdpy-vga")
    leaves_nothing(lambda: kind.create_errno(mtty.uuid), 60)
    assert kind.create_errno(mtty.uuid) == errno.EEXIST


@pytest.mark.promise("P3")
def test_binding_and_unbinding_a_function_leaves_nothing(pci_device: Target):
    function = pci_device.handle

    def cycle() -> None:
        unbind(function)
        rebind(function, "vfio-pci")

    leaves_nothing(cycle, 20)


@pytest.mark.promise("P9")
@pytest.mark.parametrize("mode", MODES)
def test_opening_and_closing_leaves_nothing(device: Target, mode):
    def cycle() -> Hashable:
        with opened(device.path, mode) as user:
            return user.device.info().flags

    leaves_nothing(cycle, 20)


@pytest.mark.promise("P9")
def test_opening_and_closing_nodes_alone_leaves_nothing(device: Target):
    def cycle() -> None:
        with Container(), Group(device.iommu_group):
            pass
        with Iommufd(), Cdev(device.path):
            pass

    leaves_nothing(cycle, 50)


@pytest.mark.promise("P9")
def test_two_descriptors_of_a_device_leave_nothing(device: Target):
    with opened(device.path, "vfio_type1v2_iommu") as user:

        def cycle() -> None:
            with user.group.device(device.name), user.group.device(device.name):
                pass

        leaves_nothing(cycle, 50)


@pytest.mark.promise("P7")
def test_opening_what_is_refused_leaves_nothing(device: Target):
    """The group without IOMMU, a name that is not there, a bind to what is no iommufd."""

    def cycle() -> Hashable:
        with Container() as container, Group(device.iommu_group) as group:
            before = group.device_errno(device.name)
            group.set_container(container)
            answers = before, group.device_errno(device.name), group.device_errno("nobody")
        with Container() as no_iommufd, Cdev(device.path) as cdev:
            return *answers, cdev.bind_iommufd_errno(no_iommufd), cdev.attach_errno(1)

    leaves_nothing(cycle, 30)
    expected = (errno.EINVAL, errno.EINVAL, errno.ENODEV, errno.EBADFD, errno.EINVAL)
    assert cycle() == expected


@pytest.mark.promise("P7")
def test_binding_and_attaching_what_is_refused_leaves_nothing(device: Target):
    with opened(device.path, "iommufd") as user, Iommufd() as other:

        def cycle() -> Hashable:
            with Cdev(device.path) as second:
                refused = second.bind_iommufd_errno(other)
            return refused, user.cdev.bind_iommufd_errno(other), user.cdev.attach_errno(12345)

        leaves_nothing(cycle, 40)
        assert cycle() == (errno.EINVAL, errno.EINVAL, errno.ENOENT)


@pytest.mark.promise("P9")
def test_a_container_and_its_groups_leave_nothing(device: Target):
    """Set without an IOMMU, with each Type1, taken out, and left for the close."""

    def cycle() -> None:
        with Group(device.iommu_group) as group, Container() as container:
            group.set_container(container)
            group.unset_container()
            for kind in (lib.VFIO_TYPE1_IOMMU, lib.VFIO_TYPE1v2_IOMMU):
                group.set_container(container)
                container.set_iommu(kind)
                group.unset_container()
            group.set_container(container)

    leaves_nothing(cycle, 20)


@pytest.mark.promise("P9")
def test_asking_for_extensions_leaves_nothing():
    def cycle() -> Hashable:
        with Container() as container:
            return tuple(container.check_extension(number) for number in range(16))

    leaves_nothing(cycle, 50)


@pytest.mark.promise("P9")
def test_asking_and_reading_leaves_nothing(device: Target):
    """Every region and index is described, and config space is read."""
    with opened(device.path, "vfio_type1v2_iommu") as user:

        def cycle() -> Hashable:
            info = user.device.info()
            regions = [user.device.region_errno(index) for index in range(info.num_regions)]
            irqs = [user.device.irq_errno(index) for index in range(info.num_irqs)]
            return *regions, *irqs, user.device.config().region.read(0, 64)

        leaves_nothing(cycle, 40)


@pytest.mark.promise("P6")
@pytest.mark.parametrize("mode", MODES)
def test_a_virtual_machine_and_its_device_leave_nothing(kvm, mtty, mode):
    def cycle() -> None:
        with Vm() as vm, vm.vfio() as bridge, opened(mtty.path, mode) as user:
            bridge.add(user.group or user.device)
            if user.group:
                user.device.close()
                user.group.device(mtty.uuid).close()

    leaves_nothing(cycle, 20)
