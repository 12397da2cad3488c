"""Functions that no IOMMU guards, which VFIO offers all the same when it is told to."""

from collections.abc import Iterator

import pytest

from vfio_hw.errors import Unsupported
from vfio_hw.fixtures import Target
from vfio_hw.fixtures.devices import takeable
from vfio_hw.host.binding import bound_to
from vfio_hw.host.inventory import functions
from vfio_hw.host.parameter import MODULES, parameter
from vfio_hw.host.pci import PciFunction
from vfio_hw.vfio.opened import NOIOMMU_MODES, Opened, opened

MODE = ("vfio", "enable_unsafe_noiommu_mode")


@pytest.fixture(scope="session")
def no_iommu() -> None:
    """There is no IOMMU in use, and VFIO can do without.

    :raises Unsupported: some function is guarded by one, so that any may be.
    """
    guarded = next((each for each in functions() if each.iommu_group is not None), None)
    if guarded:
        raise Unsupported(f"this machine has an IOMMU, in use for {guarded}: boot without one")
    if not (MODULES / MODE[0] / "parameters" / MODE[1]).exists():
        raise Unsupported("VFIO of this kernel needs an IOMMU", option="CONFIG_VFIO_NOIOMMU")


@pytest.fixture
def noiommu(no_iommu: None) -> Iterator[None]:
    """VFIO offers functions that no IOMMU guards, inside."""
    with parameter(*MODE, "Y"):
        yield


def of_kind(config: pytest.Config, kind: str) -> PciFunction:
    """A function of this kind that the tests may take."""
    found = takeable(config, kind)
    if not found:
        raise Unsupported(f"no {kind} among the devices that the tests may take")
    return found[0]


@pytest.fixture(params=["edu", "e1000e", "nvme"])
def free(
    request: pytest.FixtureRequest, pytestconfig: pytest.Config, no_iommu: None
) -> PciFunction:
    """A function of each kind in turn, which the test may bind and gives back as it found it."""
    return of_kind(pytestconfig, request.param)


@pytest.fixture
def bare(free: PciFunction, noiommu: None) -> Iterator[Target]:
    """The same, bound to vfio-pci without an IOMMU."""
    with bound_to(free, "vfio-pci"):
        yield Target(str(free.kind), free.address, free.path, free)


@pytest.fixture
def bare_edu(pytestconfig: pytest.Config, noiommu: None) -> Iterator[Target]:
    """An edu, bound to vfio-pci without an IOMMU."""
    with bound_to(of_kind(pytestconfig, "edu"), "vfio-pci") as edu:
        yield Target("edu", edu.address, edu.path, edu)


@pytest.fixture(params=NOIOMMU_MODES)
def noiommu_mode(request: pytest.FixtureRequest) -> str:
    """Each way to open such a function in turn."""
    return str(request.param)


@pytest.fixture
def user(bare: Target, noiommu_mode: str) -> Iterator[Opened]:
    """Such a function, open in each way."""
    with opened(bare.path, noiommu_mode) as one:
        yield one
