"""A function with registers to write to, or to export; a whole bus, which is reset only as a whole.

That needs all its functions to be bound to vfio-pci.
"""

import contextlib
from collections.abc import Iterator

import pytest

from vfio_hw.devices.kinds import need_features
from vfio_hw.errors import Unsupported
from vfio_hw.fixtures.devices import Target, may_take
from vfio_hw.host.binding import bound_to
from vfio_hw.host.pci import BUS, PciFunction
from vfio_hw.host.sysfs import names_in
from vfio_hw.uapi import lib
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.opened import opened
from vfio_hw.vfio.region import Region


@pytest.fixture(params=["vfio_type1v2_iommu", "iommufd"])
def nic(request: pytest.FixtureRequest, e1000e: PciFunction) -> Iterator[tuple[Device, Region]]:
    """An open e1000e and its registers."""
    with opened(e1000e.path, request.param) as user:
        yield user.device, user.device.region(lib.VFIO_PCI_BAR0_REGION_INDEX)


@pytest.fixture
def exporter(pci_device: Target) -> Target:
    """A function whose BARs can be dma-bufs.

    :raises Unsupported: this kernel has not the feature.
    """
    with opened(pci_device.path, "vfio_type1v2_iommu") as user:
        need_features(user.device, pci_device.kind, "DMA_BUF")
    return pci_device


@pytest.fixture
def nic_exporter(e1000e: PciFunction) -> Target:
    """A function that can be reset and brought to D3hot, and whose BARs can be dma-bufs.

    :raises Unsupported: this kernel has not the feature.
    """
    with opened(e1000e.path, "vfio_type1v2_iommu") as user:
        need_features(user.device, "e1000e", "DMA_BUF")
    return Target("e1000e", e1000e.address, e1000e.path, e1000e)


@pytest.fixture
def on_the_bus(pytestconfig: pytest.Config, two_of_a_group: list[PciFunction]) -> list[PciFunction]:
    """All functions on the bus of two edu that share a group, these two first.

    :raises Unsupported: the tests may not take one of them, or it is a root bus.
    """
    one, other = two_of_a_group
    if one.path.resolve().parent.name.startswith("pci"):
        raise Unsupported(f"{one} is on a root bus, which is not reset")
    prefix = one.address.rpartition(":")[0] + ":"
    names = [name for name in names_in(BUS / "devices") if name.startswith(prefix)]
    rest = [one.at(name) for name in names if name not in (one.address, other.address)]
    for function in rest:
        if not may_take(pytestconfig, function):
            raise Unsupported(f"{function} is on the bus of {one}, and no --device names it")
    return [one, other, *rest]


@pytest.fixture
def bus(on_the_bus: list[PciFunction]) -> Iterator[list[PciFunction]]:
    """The same functions, all bound to vfio-pci."""
    with contextlib.ExitStack() as stack:
        for function in on_the_bus:
            stack.enter_context(bound_to(function))
        yield on_the_bus


@pytest.fixture
def bus_exporter(bus: list[PciFunction]) -> PciFunction:
    """The first of them, whose BARs can be dma-bufs.

    :raises Unsupported: this kernel has not the feature.
    """
    with opened(bus[0].path, "vfio_type1v2_iommu") as user:
        need_features(user.device, "edu", "DMA_BUF")
    return bus[0]
