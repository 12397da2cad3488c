"""A device that interrupts by itself."""

from collections.abc import Iterator

import pytest

from vfio_hw.devices.edu import acknowledged
from vfio_hw.host.pci import PciFunction
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.opened import opened
from vfio_hw.vfio.region import Region


@pytest.fixture
def opened_edu(edu: PciFunction) -> Iterator[tuple[Device, Region]]:
    """An open edu, which asserts no interrupt, and its registers."""
    with (
        opened(edu.path, "vfio_type1v2_iommu") as user,
        acknowledged(user.device) as registers,
    ):
        yield user.device, registers
