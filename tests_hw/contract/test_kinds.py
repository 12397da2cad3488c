"""This file checks that each kind of device still does all that fixtures/devices promises (P8)."""

import errno

import pytest

from vfio_hw.devices.kinds import Kind, kind
from vfio_hw.fixtures import Target
from vfio_hw.uapi import lib
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.feature import PROBE, feature_errno
from vfio_hw.vfio.opened import opened

MODES = ["vfio_type1v2_iommu", "iommufd"]


@pytest.fixture(params=MODES)
def user(request, every_kind: Target):
    with opened(every_kind.path, request.param) as user:
        yield user.device


@pytest.fixture
def promised(every_kind: Target) -> Kind:
    """What the kind must do."""
    return kind(every_kind.kind)


@pytest.mark.promise("P8")
def test_a_device_has_all_regions_of_its_kind(user: Device, promised: Kind):
    info = user.info()
    assert info.flags & promised.flags == promised.flags
    assert info.num_regions > max(promised.regions)
    for index, promise in promised.regions.items():
        region = user.region(index)
        assert region.size > 0, index
        assert region.flags & promise.flags == promise.flags, index
        assert promise.capabilities <= set(region.capabilities), index


@pytest.mark.promise("P8")
def test_a_device_has_all_interrupts_of_its_kind(user: Device, promised: Kind):
    """A display has none, which it says of every index."""
    assert user.info().num_irqs == lib.VFIO_PCI_NUM_IRQS
    for index, promise in promised.interrupts.items():
        if not promise.there.holds():
            continue
        irq = user.irq(index)
        assert irq.count >= promise.count, index
        assert irq.flags & promise.flags == promise.flags, index
        if promise.resizes and promise.resizes.holds():
            assert not irq.flags & lib.VFIO_IRQ_INFO_NORESIZE, index
    if not promised.interrupts:
        assert not any(user.irq(index).count for index in range(user.info().num_irqs))


@pytest.mark.promise("P8")
def test_a_device_has_all_features_of_its_kind(user: Device, promised: Kind):
    """And one that no kind here has is not there: a probe of anything does not just succeed."""
    for name, promise in promised.features.items():
        if promise.holds():
            number = getattr(lib, f"VFIO_DEVICE_FEATURE_{name}")
            assert feature_errno(user, number | PROBE) == 0, name
    assert feature_errno(user, lib.VFIO_DEVICE_FEATURE_BUS_MASTER | PROBE) == errno.ENOTTY
