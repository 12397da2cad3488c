"""A device that really reaches memory: an edu behind an iommufd."""

from collections.abc import Iterator

import pytest

from vfio_hw.devices.edu_dma import Engine, engine
from vfio_hw.host.pci import PciFunction
from vfio_hw.vfio.opened import Opened, opened


@pytest.fixture
def reaching(edu: PciFunction) -> Iterator[tuple[Opened, Engine]]:
    """An edu that is bound to an iommufd and attached to an address space, and its DMA engine."""
    with opened(edu.path, "iommufd") as user:
        yield user, engine(user.device)
