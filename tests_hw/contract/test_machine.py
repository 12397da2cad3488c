"""This file checks that the kernel shows all that the guest's machine has (P8).

What it has its description says, fixtures/machines. Without this file a kernel that loses an IOMMU,
a device or a group loses the tests that need it, and passes those that are left.
Source: Documentation/ABI/testing/sysfs-kernel-iommu_groups, sysfs-class-iommu, sysfs-bus-pci.
"""

import fnmatch
import os
from collections import Counter

import pytest

from vfio_hw.errors import Unsupported
from vfio_hw.host import sriov
from vfio_hw.host.inventory import functions
from vfio_hw.host.iommu import EXTENDED_ATS, extended_capabilities
from vfio_hw.host.pci import KINDS, PciFunction
from vfio_hw.plugin import IN_GUEST
from vfio_hw.vm.topology import Shown, topology

# Where sysfs has the IOMMU in front of a device, and the option that brings it up.
IOMMUS = {
    "intel-iommu": ("*/iommu/dmar[0-9]*", "CONFIG_INTEL_IOMMU_DEFAULT_ON"),
    "amd-iommu": ("*/iommu/ivhd[0-9]*", "CONFIG_AMD_IOMMU"),
    "virtio-iommu": ("*/virtio[0-9]*/iommu/*", "CONFIG_VIRTIO_IOMMU"),
}
# QEMU's words for devices, by vendor and device.
NAMES = {
    **{ids: kind for kind, ids in KINDS.items()},
    (0x1AF4, 0x1044): "virtio-rng-pci",
    (0x1234, 0x1111): "VGA",
    (0x1033, 0x0194): "nec-usb-xhci",
    (0x1B36, 0x000C): "pcie-root-port",
}


@pytest.fixture
def promised(pytestconfig: pytest.Config) -> Shown:
    """What the description of the machine says.

    :raises Unsupported: this is a machine that nobody has described.
    """
    name = pytestconfig.option.machine
    if not name or not os.environ.get(IN_GUEST):
        raise Unsupported("what this machine has nobody has promised: it is no guest of vfio-hw's")
    return topology(name).shows


@pytest.fixture
def there(promised: Shown) -> list[tuple[str, PciFunction]]:
    """Each function of the kinds that the machine has, after QEMU's word for it."""
    named = [(NAMES.get((each.vendor, each.device)), each) for each in functions()]
    return [(name, each) for name, each in named if name and name in promised.devices]


@pytest.mark.promise("P8")
def test_no_device_of_the_machine_is_lost(promised, there):
    assert Counter(name for name, _ in there) == promised.devices


@pytest.mark.promise("P8")
def test_the_iommu_of_the_machine_guards_its_devices(promised, there):
    """Where there is none, nothing is guarded by one."""
    links = {function: function.path / "iommu" for _, function in there}
    found = {function: str(link.resolve()) for function, link in links.items() if link.exists()}
    if not promised.iommu:
        assert found == {}
        return
    place, option = IOMMUS[promised.iommu]
    if not found:
        raise Unsupported(f"no {promised.iommu} is in use: nothing is behind one", option=option)
    assert found.keys() == links.keys()
    assert [path for path in found.values() if not fnmatch.fnmatch(path, place)] == []


@pytest.mark.promise("P8")
def test_the_groups_are_those_of_the_machine(promised, there):
    """No group is split or merged: what can not reach another device can be used without it."""
    groups: dict[int | None, list[str]] = {}
    for name, function in there:
        groups.setdefault(function.iommu_group, []).append(name)
    unguarded = groups.pop(None, [])
    if promised.iommu and not groups:
        option = IOMMUS[promised.iommu][1]
        raise Unsupported(f"no {promised.iommu} is in use: nothing has a group", option=option)
    assert sorted(unguarded) == sorted(promised.unguarded)
    assert sorted(map(sorted, groups.values())) == sorted(map(sorted, promised.groups))


@pytest.mark.machine("sr-iov")
@pytest.mark.promise("P8")
def test_functions_may_have_their_virtual_ones(promised, there):
    found = [(name, sriov.most(function)) for name, function in there]
    found = [(name, most) for name, most in found if most]
    if not found:
        raise Unsupported("no function may have virtual ones", option="CONFIG_PCI_IOV")
    assert found == list(promised.virtual_functions.items())


@pytest.mark.machine("ats")
@pytest.mark.promise("P8")
def test_functions_have_their_address_translation_services(promised, there):
    having = [name for name, each in there if EXTENDED_ATS in extended_capabilities(each.path)]
    assert Counter(having) == promised.ats
