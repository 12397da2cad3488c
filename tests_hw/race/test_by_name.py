"""This file races what the kernel's life-cycle rework had to put in order, race by race.

Each is at its own edges for as long as a race may take. What may come of it is in the catalogue,
``vfio-hw race --list``, or stands here.
"""

import uuid

import pytest

from vfio_hw.errors import Unsupported
from vfio_hw.fixtures import ByName
from vfio_hw.host import kconfig
from vfio_hw.host.mdev import DEVICES
from vfio_hw.race.catalogue import group, mdev
from vfio_hw.race.catalogue.effects import UNSET
from vfio_hw.race.catalogue.entry import MEDIATED, Disruption, alone
from vfio_hw.race.catalogue.subject import Subject
from vfio_hw.race.program import write_file

EITHER = pytest.mark.parametrize("subject", ["mtty", "edu"], indirect=True)
MDEV = pytest.mark.parametrize("subject", ["mtty"], indirect=True)
RESET = pytest.mark.parametrize("subject", ["e1000e"], indirect=True)


def removal(subject: Subject) -> str:
    """What removes such a device."""
    return "mdev_remove" if subject.kind in MEDIATED else "driver_unbind"


@pytest.mark.promise("P1", "P3")
@EITHER
def test_the_last_close_has_closed_the_device_before_it_wakes_the_removal(subject, by_name: ByName):
    """What a removal frees once it is woken, the last close must not touch any more."""
    by_name(["close_device"], removal(subject))


@pytest.mark.promise("P1")
@EITHER
def test_a_device_without_references_is_not_opened_anew(subject, by_name: ByName):
    """An open that began before the last close, and gets to the count of references after it."""
    by_name(["close_device", "open_cdev"], removal(subject))


@pytest.mark.promise("P1")
@EITHER
def test_a_device_is_looked_up_while_it_leaves_its_group(subject, by_name: ByName):
    """Two look-ups by name, and the removal that takes the device from the list."""
    by_name(["VFIO_GROUP_GET_DEVICE_FD", "VFIO_GROUP_GET_DEVICE_FD"], removal(subject))


@pytest.mark.promise("P7")
@RESET
def test_an_open_that_meets_a_reset_is_refused_and_leaves_nothing(subject, by_name: ByName):
    by_name(["VFIO_GROUP_GET_DEVICE_FD"], "sysfs_reset")


@pytest.mark.promise("P6")
@EITHER
@pytest.mark.parametrize("disruption", ["kvm_forgets", "close_vm_elsewhere"])
def test_a_device_is_opened_while_its_kvm_goes(subject, disruption, by_name: ByName):
    by_name(["VFIO_GROUP_GET_DEVICE_FD"], disruption)


@pytest.mark.promise("P6")
@EITHER
@pytest.mark.parametrize(
    "users",
    [
        ["VFIO_GROUP_GET_DEVICE_FD"],
        ["VFIO_GROUP_GET_DEVICE_FD", "VFIO_GROUP_GET_DEVICE_FD"],
        ["close_device"],
    ],
    ids=["opened", "opened_twice", "closed"],
)
def test_another_kvm_takes_the_place_of_a_devices_own(subject, users, by_name: ByName):
    """A device that is opened gets the one, the other or none, and each goes with who holds it."""
    by_name(users, "kvm_replaced")


@pytest.mark.promise("P6")
@EITHER
def test_a_device_is_closed_while_its_kvm_goes(subject, by_name: ByName):
    """While KVM forgets the group, and the machine's last descriptor is closed."""
    by_name(["close_device", "close_vm"], "kvm_forgets")


@pytest.mark.promise("P3")
@MDEV
@pytest.mark.parametrize("user", ["create_mdev", "remove_mdev"])
def test_a_parent_goes_while_its_devices_come_and_go(subject, user, by_name: ByName):
    by_name([user], "module_unload")


@pytest.mark.promise("P3", "P1")
@MDEV
@pytest.mark.parametrize(
    "user", ["VFIO_GROUP_GET_DEVICE_FD", "open_cdev_and_VFIO_DEVICE_BIND_IOMMUFD"]
)
def test_a_parent_goes_while_its_device_is_opened(subject, user, by_name: ByName):
    by_name([user], "module_unload")


@pytest.mark.promise("P1", "P4")
@MDEV
@pytest.mark.parametrize("user", ["open_cdev", "open_group"])
def test_a_node_is_opened_while_another_device_takes_its_number(subject, user, by_name: ByName):
    """The node of a device that goes, and whose number the next one gets at once."""
    by_name([user], replaced())


@pytest.mark.promise("P9")
@EITHER
def test_an_object_of_the_device_is_not_destroyed_from_under_its_last_close(
    subject, by_name: ByName
):
    """IOMMU_DESTROY of what the bind made: in use until the device is closed, then gone."""
    by_name(["IOMMU_DESTROY_of_the_device"], "close_device_elsewhere")


@pytest.mark.promise("P3", "P4")
@EITHER
def test_an_iommu_is_there_until_the_last_request_to_its_container_is_over(
    subject, by_name: ByName
):
    """Memory is mapped in a container while its only group leaves it, and joins it again."""
    if "CONFIG_KASAN" not in (kconfig.options() or ()):
        raise Unsupported("without KASAN what was freed is used unseen, and kills the guest later")
    by_name(["VFIO_IOMMU_MAP_DMA"], rejoined())


def rejoined() -> Disruption:
    """The group leaves its container, whose IOMMU goes with it, and joins it again."""

    def steps(world):
        out, into = group.left(world), group.joined(world)
        return (out, *into, out, *into)

    return Disruption(
        "rejoined", ("container",), steps, alone("ok+ok+ok+ok+ok+ok"), frozenset({UNSET})
    )


def replaced() -> Disruption:
    """The device is removed, another one takes its place, and goes again."""
    other = str(uuid.uuid4())

    def steps(world):
        create = mdev.type_path(world.subject.kind) / "create"
        return (
            *mdev.removed(world),
            *write_file(create, other.encode(), decisive=True),
            *write_file(DEVICES / other / "remove", b"1", decisive=True),
        )

    goes = frozenset({"the device is removed"})
    return Disruption("replaced", ("nothing",), steps, alone("ok+ok+ok+ok+ok+ok"), goes, MEDIATED)
