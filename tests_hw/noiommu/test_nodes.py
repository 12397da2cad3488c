"""This file checks the nodes of a device that no IOMMU guards, and who may open them (P1, P4, P8).

Source: Documentation/driver-api/vfio.rst, "VFIO NOIOMMU mode"; the description of the module
parameter enable_unsafe_noiommu_mode.
"""

import errno
from pathlib import Path

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.host.binding import bound_to, rebind
from vfio_hw.host.capability import CAP_SYS_RAWIO, without
from vfio_hw.host.parameter import parameter
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.sysfs import names_in, write
from vfio_hw.uapi import lib
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.descriptor import errno_of
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.names import NODES, cdev_path, group_path
from vfio_hw.vfio.opened import Opened, opened

pytestmark = pytest.mark.machine("noiommu")

NOIOMMU = lib.VFIO_NOIOMMU_IOMMU
# Source: Documentation/admin-guide/tainted-kernels.rst, "U": user space asked for it.
TAINT_USER = 1 << 6


def tainted() -> int:
    return int(Path("/proc/sys/kernel/tainted").read_text())


@pytest.mark.promise("P4")
@pytest.mark.promise("P8")
def test_its_nodes_say_that_no_iommu_guards_it(free: PciFunction, noiommu):
    """They come and go with it, and it is in a group of its own."""
    before = names_in(NODES), names_in(NODES / "devices")
    with bound_to(free, "vfio-pci"):
        group, node = group_path(free.path), cdev_path(free.path)
        assert group == NODES / f"noiommu-{free.iommu_group}"
        assert node.name.startswith("noiommu-vfio")
        assert group.is_char_device()
        assert node.is_char_device()
        assert Path("/sys/class/vfio", group.name).is_dir()
        assert Path("/sys/class/vfio-dev", node.name, "device").resolve() == free.path.resolve()
        assert not (NODES / str(free.iommu_group)).exists(), "it looks like one that is guarded"
        assert free.siblings() == []
    assert (names_in(NODES), names_in(NODES / "devices")) == before
    assert free.iommu_group is None


@pytest.mark.promise("P8")
def test_offering_it_taints_the_kernel(bare: Target):
    assert tainted() & TAINT_USER


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_it_is_not_offered_unless_the_mode_is_on(free: PciFunction, no_iommu):
    """vfio-pci does not take it, and nothing of VFIO is there; with the mode on it does."""
    before = names_in(NODES), names_in(NODES / "devices")
    mode = "enable_unsafe_noiommu_mode"
    with parameter("vfio", mode, "Y"), bound_to(free, "vfio-pci"):
        rebind(free, None)
        with parameter("vfio", mode, "N"):
            write(free.bus / "drivers_probe", free.address)
            assert free.driver is None
            assert free.iommu_group is None
            assert (names_in(NODES), names_in(NODES / "devices")) == before
        write(free.bus / "drivers_probe", free.address)
        assert group_path(free.path).exists()


@pytest.mark.promise("P8")
def test_who_has_it_keeps_it_when_the_mode_goes_off(bare: Target, user: Opened):
    """The parameter says what is offered from then on."""
    with parameter("vfio", "enable_unsafe_noiommu_mode", "N"):
        assert user.device.info().num_regions > 0
        assert user.device.config().get(0, 2) == bare.handle.vendor


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_nobody_opens_it_without_the_right_to_raw_io(bare: Target):
    """Root without CAP_SYS_RAWIO is refused; nothing is left of that."""
    name = group_path(bare.path).name
    with without(CAP_SYS_RAWIO):
        assert errno_of(Group)(name) == errno.EPERM
        assert errno_of(Cdev)(bare.path) == errno.EPERM
    with bare.removal() as removal:
        removal.must_return(5.0)


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@pytest.mark.parametrize("kind", [Container, Iommufd])
def test_an_open_group_is_not_enough_without_the_right_to_raw_io(bare: Target, kind):
    """The steps that give a user the device ask for it anew."""
    with kind() as container, Group(group_path(bare.path).name) as group:
        with without(CAP_SYS_RAWIO):
            refused = group.set_container_errno(container)
        # An iommufd is taken, as nothing comes of that yet.
        if kind is Container:
            assert refused == errno.EPERM
        if refused:
            group.set_container(container)
        with without(CAP_SYS_RAWIO):
            assert container.set_iommu_errno(NOIOMMU) == errno.EPERM
        container.set_iommu(NOIOMMU)
        if kind is Iommufd:
            with without(CAP_SYS_RAWIO):
                assert group.device_errno(bare.name) == errno.EPERM
        with group.device(bare.name) as device:
            assert device.info_errno() == 0


@pytest.mark.promise("P4")
@pytest.mark.promise("P5")
def test_its_group_has_one_opener_and_its_two_nodes_exclude_each_other(bare: Target):
    name = group_path(bare.path).name
    with opened(bare.path, "vfio_noiommu_iommu"), Cdev(bare.path) as cdev, Iommufd() as iommufd:
        assert errno_of(Group)(name) == errno.EBUSY
        assert cdev.bind_iommufd_errno(iommufd) == errno.EBUSY
    with opened(bare.path, "iommufd"):
        assert errno_of(Group)(name) == errno.EBUSY
    assert errno_of(Group)(name) == 0


@pytest.mark.promise("P1")
@pytest.mark.promise("P3")
def test_its_removal_waits_for_the_last_descriptor(bare: Target, user: Opened):
    """And returns promptly then; from then on it can not be opened."""
    node = cdev_path(bare.path)
    with bare.removal() as removal:
        assert removal.wait(0.3) is None
        assert user.device.info_errno() == 0
        user.device.close()
        for each in (user.group, user.container, user.iommufd):
            if each is not None:
                each.close()
        removal.must_return(5.0)
    assert not node.exists()
    assert bare.handle.iommu_group is None
