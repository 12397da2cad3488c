"""Devices that are bound to an iommufd; an edu that really reaches memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from vfio_hw.devices.edu_dma import Engine, engine
from vfio_hw.fixtures.iommufd import Scene, scene_of
from vfio_hw.host.mdev import Mdev
from vfio_hw.host.pci import PciFunction
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.opened import Opened, opened


@pytest.fixture
def reaching(edu: PciFunction) -> Iterator[tuple[Opened, Engine]]:
    """An edu that is bound to an iommufd and attached to an address space, and its DMA engine."""
    with opened(edu.path, "iommufd") as user:
        yield user, engine(user.device)


@dataclass(frozen=True)
class Bound:
    """A device that is bound to an iommufd: its directory in sysfs, its file, its number there."""

    path: Path
    iommufd: Iommufd
    cdev: Cdev
    id: int


@pytest.fixture(params=["edu", "e1000e", "nvme"])
def bound(request: pytest.FixtureRequest) -> Iterator[Bound]:
    """Each kind of device that is behind the machine's IOMMU, bound and not attached."""
    path = request.getfixturevalue(request.param).path
    with Iommufd() as iommufd, Cdev(path) as cdev:
        yield Bound(path, iommufd, cdev, cdev.bind_iommufd(iommufd))


@pytest.fixture
def bound_edu(edu: PciFunction) -> Iterator[tuple[Bound, Engine]]:
    """An edu that is bound to an iommufd and not attached, and its DMA engine."""
    with Iommufd() as iommufd, Cdev(edu.path) as cdev:
        one = Bound(edu.path, iommufd, cdev, cdev.bind_iommufd(iommufd))
        yield one, engine(cdev)


@pytest.fixture
def scene(edu: PciFunction, mtty: Mdev) -> Iterator[Scene]:
    """What every request of an iommufd can be made about."""
    with scene_of(edu.path, mtty.path) as new:
        yield new
