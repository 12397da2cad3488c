"""This file checks that mediated devices are created once, by type and UUID, and go without trace.

Source: Documentation/driver-api/vfio-mediated-device.rst (P3, P8).
"""

import errno
import uuid

import pytest

from vfio_hw.host.mdev import DEVICES, created, type_by_id, types
from vfio_hw.host.sysfs import link_name, names_in
from vfio_hw.vfio.opened import opened

CYCLES = 5
KINDS = ["mtty-1", "mtty-2", "mdpy-vga", "mdpy-hd", "mbochs-small", "mbochs-large"]
# One type of each parent, and what its driver says when no instance is left: mdev's own count says
# EUSERS, a driver that counts something else ENOSPC.
LIMITED = {"mtty-1": errno.ENOSPC, "mdpy-vga": errno.EUSERS, "mbochs-large": errno.ENOSPC}


@pytest.mark.promise("P8")
@pytest.mark.parametrize("second", KINDS)
def test_a_uuid_that_is_taken_is_refused_quietly(second):
    """By any type of any parent, and without touching the device that has it.

    The oracle of the kernel log finds what sysfs says of a name that it is given twice.
    """
    kind = type_by_id(second)
    with created(type_by_id("mtty-1")) as mdev:
        group, instances = mdev.iommu_group, kind.available_instances
        assert kind.create_errno(mdev.uuid) == errno.EEXIST
        assert kind.create_errno(mdev.uuid.upper()) == errno.EEXIST
        assert kind.available_instances == instances
        assert (mdev.exists, mdev.iommu_group) == (True, group)
        with opened(mdev.path, "vfio_type1v2_iommu"):
            pass


@pytest.mark.promise("P3")
@pytest.mark.parametrize("identity", KINDS)
def test_a_uuid_can_be_taken_again_and_again(identity):
    kind, name = type_by_id(identity), str(uuid.uuid4())
    instances = kind.available_instances
    for _ in range(CYCLES):
        with created(kind, name) as mdev, opened(mdev.path, "iommufd"):
            assert kind.available_instances == instances - 1
        assert kind.available_instances == instances
        assert name not in names_in(DEVICES)


@pytest.mark.promise("P3")
def test_a_uuid_can_be_taken_by_another_parent_when_it_is_free():
    name = str(uuid.uuid4())
    for identity in KINDS:
        with created(type_by_id(identity), name) as mdev:
            assert link_name(mdev.path / "mdev_type") == identity


@pytest.mark.promise("P3")
@pytest.mark.parametrize("identity", KINDS)
def test_links_between_device_and_type_come_and_go(identity):
    """The type lists its devices, the device names its type, and no other type lists it."""
    kind = type_by_id(identity)
    before = names_in(kind.path / "devices")
    with created(kind) as mdev:
        link = kind.path / "devices" / mdev.uuid
        assert link.is_symlink()
        assert link.resolve() == mdev.path.resolve()
        assert (mdev.path / "mdev_type").resolve() == kind.path.resolve()
        lists = [each.id for each in types() if mdev.uuid in names_in(each.path / "devices")]
        assert lists == [identity]
        mdev.remove()
        assert not link.is_symlink()
        assert names_in(kind.path / "devices") == before


@pytest.mark.promise("P3")
@pytest.mark.parametrize(("identity", "answer"), LIMITED.items(), ids=list(LIMITED))
def test_the_last_instance_can_be_had_and_no_more_and_one_that_is_freed_again(identity, answer):
    """A create that is refused for want of an instance leaves nothing, however often."""
    kind = type_by_id(identity)
    instances, devices = kind.available_instances, names_in(DEVICES)
    assert instances > 1
    names = [str(uuid.uuid4()) for _ in range(instances)]
    made = []
    try:
        made += [kind.create(name) for name in names]
        assert kind.available_instances == 0
        for _ in range(CYCLES):
            refused = str(uuid.uuid4())
            assert kind.create_errno(refused) == answer
            assert refused not in names_in(DEVICES) + names_in(kind.path / "devices")
        made[0].remove()
        assert kind.available_instances == 1
        made[0] = kind.create(names[0])
        assert kind.create_errno(refused) == answer
    finally:
        for mdev in made:
            mdev.remove()
    assert (kind.available_instances, names_in(DEVICES)) == (instances, devices)
