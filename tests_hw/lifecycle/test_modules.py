"""This file checks who holds which module, and that all of them go and come again (P3).

An open device holds the module of its driver, an open file the module of its operations, a
container the module of its IOMMU. A mediated device that nobody has open holds nothing: it goes
with its parent. Source: vfio_df_device_first_open() in drivers/vfio/vfio_main.c,
vfio_ioctl_set_iommu() in drivers/vfio/container.c, mdev_unregister_parent() in
drivers/vfio/mdev/mdev_core.c.
"""

import errno
from pathlib import Path

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.host import modules
from vfio_hw.host.mdev import DEVICES, Mdev, created, type_by_id
from vfio_hw.host.modules import delete_errno, deleting, references
from vfio_hw.host.sysfs import names_in
from vfio_hw.uapi import lib
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.opened import opened

WATCHED = 0.5
PROMPT = 5.0
MODES = ["vfio_type1v2_iommu", "iommufd"]

STACK = ("mtty", "mdpy", "mbochs", "vfio_pci", "vfio_iommu_type1", "mdev", "vfio", "iommufd")
# What the stack shows of itself while it is loaded.
SHOWN = [
    *(Path("/sys/class", name) for name in ("vfio", "vfio-dev", "mdev_bus", *STACK[:3])),
    *(Path("/sys/bus", name) for name in ("mdev", "pci/drivers/vfio-pci")),
    *(Path("/dev", name) for name in ("vfio/vfio", "iommu")),
]


@pytest.fixture(params=["mtty", "mdpy", "mbochs", "edu"])
def driven(own_modules, request) -> tuple[str, Target]:
    """A device of each driver that comes as a module, and the name of that module."""
    handle = request.getfixturevalue(request.param)
    if isinstance(handle, Mdev):
        return request.param, Target(request.param, handle.uuid, handle.path, handle)
    return "vfio_pci", Target(request.param, handle.address, handle.path, handle)


def in_use(name: str) -> bool:
    """Whether the kernel refuses to unload the module because of its users."""
    answer = delete_errno(name, PROMPT)
    assert answer in (0, errno.EWOULDBLOCK)
    return answer != 0


def registered(path: str) -> set[str]:
    """The names of VFIO and its samples in a file of /proc that lists what drivers registered."""
    words = set(Path(path).read_text().split())
    return words & {"vfio", "vfio-dev", "iommu", "mtty", "mdpy", "mbochs"}


@pytest.mark.promise("P3")
@pytest.mark.parametrize("mode", MODES)
def test_the_module_of_a_driver_is_in_use_while_a_device_is_open(driven, mode):
    module, device = driven
    before = references(module)
    with opened(device.path, mode):
        assert references(module) == before + 1
        assert in_use(module)
    assert references(module) == before


@pytest.mark.promise("P3")
def test_a_second_descriptor_of_a_device_holds_the_module_no_more_than_the_first(driven):
    """And the module is in use until the last one is closed."""
    module, device = driven
    before = references(module)
    with opened(device.path, "vfio_type1v2_iommu") as user:
        with user.group.device(device.name):
            user.device.close()
            assert references(module) == before + 1
            assert in_use(module)
        assert references(module) == before


@pytest.mark.promise("P3")
def test_a_refused_open_holds_no_module(driven):
    module, device = driven
    before = references(module)
    with Container() as container, Group(device.iommu_group) as group:
        group.set_container(container)
        assert group.device_errno(device.name) == errno.EINVAL
        assert references(module) == before
    with Container() as no_iommufd, Cdev(device.path) as cdev:
        assert cdev.bind_iommufd_errno(no_iommufd) == errno.EBADFD
        assert references(module) == before


@pytest.mark.promise("P3")
def test_a_container_holds_the_module_of_its_iommu(mtty, own_modules):
    before, kept = references("vfio_iommu_type1"), references("vfio")
    with Container() as container, Group(mtty.iommu_group) as group:
        group.set_container(container)
        assert references("vfio_iommu_type1") == before
        container.set_iommu(lib.VFIO_TYPE1v2_IOMMU)
        assert references("vfio_iommu_type1") == before + 1
        assert in_use("vfio_iommu_type1")
        group.unset_container()
        assert references("vfio_iommu_type1") == before
        group.set_container(container)
        container.set_iommu(lib.VFIO_TYPE1_IOMMU)
        assert references("vfio_iommu_type1") == before + 1
    assert (references("vfio_iommu_type1"), references("vfio")) == (before, kept)


@pytest.mark.promise("P3")
def test_each_open_file_holds_the_module_of_vfio(mtty):
    """A container, a group, a device through it; then a character device, bound or not.

    A file of a node holds it once for the node and once for its operations, the others once.
    """
    counts = [references("vfio")]
    with Container() as container, Group(mtty.iommu_group) as group:
        counts.append(references("vfio"))
        group.set_container(container)
        container.set_iommu(lib.VFIO_TYPE1v2_IOMMU)
        with group.device(mtty.uuid):
            counts.append(references("vfio"))
    assert references("vfio") == counts[0]
    assert counts == sorted(set(counts))
    with Cdev(mtty.path):
        assert references("vfio") > counts[0]
    assert references("vfio") == counts[0]


@pytest.mark.promise("P3")
def test_each_iommufd_holds_its_module(mtty):
    """A device that is bound holds the iommufd itself: its module stays until both are closed."""
    before = references("iommufd")
    with Iommufd() as one, Iommufd() as other:
        assert references("iommufd") == before + 2
        other.close()
        assert references("iommufd") == before + 1
        with Cdev(mtty.path) as cdev:
            cdev.bind_iommufd(one)
            one.close()
            assert references("iommufd") == before + 1
    assert references("iommufd") == before


@pytest.mark.promise("P3")
@pytest.mark.parametrize("identity", ["mtty-2", "mdpy-xga", "mbochs-medium"])
def test_devices_that_nobody_has_open_go_with_their_parent(own_modules, identity):
    """Each was used, and nothing of them is left when the module is gone."""
    kind = type_by_id(identity)
    module, before = kind.parent, names_in(DEVICES)
    with created(kind) as one, created(kind) as other:
        with opened(one.path, "vfio_type1v2_iommu"):
            pass
        places = [one.path, other.path, kind.path]
        places += [Path("/dev/vfio", str(each.iommu_group)) for each in (one, other)]
        assert [path for path in places if not path.exists()] == []
        assert not in_use(module)
        assert [path for path in places if path.exists()] == []
        assert names_in(DEVICES) == before


@pytest.mark.promise("P1")
def test_unloading_a_parent_waits_for_the_last_descriptor(own_modules, mtty):
    """A character device that is not bound holds no module, and yet the device."""
    with Cdev(mtty.path) as cdev, deleting("mtty") as deletion:
        assert deletion.wait(WATCHED) is None, "the parent went while its device was open"
        cdev.close()
        assert deletion.must_answer(PROMPT) == 0
    assert not modules.is_loaded("mtty")


@pytest.mark.promise("P3")
def test_the_whole_stack_goes_after_use_and_comes_again(own_modules, mtty, mdpy, mbochs, edu):
    """Nothing is left in sysfs, /dev and /proc, and what comes again works as before."""
    for device in (mtty, mdpy, mbochs, edu):
        for mode in MODES:
            with opened(device.path, mode):
                pass
    assert [path for path in SHOWN if not path.exists()] == []
    characters, misc = registered("/proc/devices"), registered("/proc/misc")
    for name in STACK:
        modules.unload(name)
    assert [name for name in STACK if modules.is_loaded(name)] == []
    assert [path for path in SHOWN if path.exists()] == []
    assert registered("/proc/devices") | registered("/proc/misc") == set()
    for name in ("vfio-pci", "vfio_iommu_type1", "iommufd", "mtty", "mdpy", "mbochs"):
        modules.load(name)
    assert [path for path in SHOWN if not path.exists()] == []
    assert (registered("/proc/devices"), registered("/proc/misc")) == (characters, misc)
    with created(type_by_id("mtty-1")) as mdev, opened(mdev.path, "iommufd"):
        pass
