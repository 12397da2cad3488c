"""This file checks what is left to a user when a removal comes between his closes (P1, P3, P4, P6).

It waits for the last device file, wherever in the order it begins, and for nothing else. Each
descriptor does until then what it did before, but open the device anew; after it a group says that
it is none, and a container has no IOMMU of it. Source: vfio_unregister_group_dev() and
vfio_device_remove_group(); Documentation/driver-api/vfio.rst.
"""

import itertools

import pytest

from tests_hw.lifecycle.closes import MODES, REMOVAL, using
from vfio_hw.fixtures import Target
from vfio_hw.vfio.dma import accounted
from vfio_hw.vfio.kvm import Vm

ORDERS = [
    pytest.param(name, order, id=f"{name}-{'-'.join(order)}")
    for name, mode in MODES.items()
    for order in itertools.permutations((*mode.names, REMOVAL))
]
#: With KVM: what it has to do with.
ORDERS_OF_KVM = [
    pytest.param(name, order, id=f"{name}-{'-'.join(order)}")
    for name, files in {
        "vfio_type1v2_iommu": ("group", "device", "kvm"),
        "iommufd": ("device", "kvm"),
    }.items()
    for order in itertools.permutations((*files, REMOVAL))
]


@pytest.mark.promise("P1")
@pytest.mark.promise("P3")
@pytest.mark.promise("P4")
@pytest.mark.parametrize("device", ["mtty", "edu"], indirect=True)
@pytest.mark.parametrize(("mode", "order"), ORDERS)
def test_a_removal_between_closes_waits_for_the_device_and_takes_nothing_else(
    device: Target, mode, order
):
    before = accounted()
    with using(device, mode) as use:
        use.judge(order)
        assert accounted() == before


@pytest.mark.promise("P1")
@pytest.mark.promise("P4")
@pytest.mark.promise("P6")
@pytest.mark.parametrize("device", ["mtty"], indirect=True)
@pytest.mark.parametrize(("mode", "order"), ORDERS_OF_KVM)
def test_a_removal_between_closes_takes_no_vm_from_who_has_it(device: Target, vm: Vm, mode, order):
    """KVM's reference to a group lets the device go; that to a device's file keeps it."""
    with using(device, mode, vm) as use:
        use.judge(order)
