"""A physical function of vfio-pci's, and ways to open it and its virtual ones with a token."""

import contextlib
from collections.abc import Callable, Iterator
from uuid import UUID

import pytest

from vfio_hw.errors import Unsupported
from vfio_hw.fixtures.devices import may_take
from vfio_hw.host import sriov
from vfio_hw.host.binding import bound_to
from vfio_hw.host.inventory import functions
from vfio_hw.host.parameter import parameter
from vfio_hw.host.pci import PciFunction
from vfio_hw.uapi import lib
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.descriptor import errno_of
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.iommufd import Iommufd

#: Opens a function, with a token or without; closed after.
Opening = Callable[..., contextlib.AbstractContextManager[Device]]


@pytest.fixture
def free_physical(pytestconfig: pytest.Config) -> PciFunction:
    """A function that can have virtual ones, bound to no driver of ours."""
    for function in functions():
        if sriov.most(function) and may_take(pytestconfig, function):
            return function
    raise Unsupported("no function with SR-IOV among the devices that the tests may take")


@pytest.fixture
def native(free_physical: PciFunction) -> str:
    """Its own driver: the one that it has, or in a guest, where it has none yet, that of QEMU's."""
    own = free_physical.driver or ("nvme" if free_physical.kind == "nvme" else None)
    if own in (None, "vfio-pci"):
        raise Unsupported(f"{free_physical} has no driver of its own: bind it to one first")
    return own


@pytest.fixture
def physical(free_physical: PciFunction) -> Iterator[PciFunction]:
    """The same, bound to vfio-pci, which makes virtual ones when it is asked to."""
    with bound_to(free_physical, "vfio-pci"), parameter("vfio_pci", "enable_sriov", "Y"):
        yield free_physical


@pytest.fixture
def one(physical: PciFunction) -> Iterator[PciFunction]:
    """Its only virtual function."""
    with sriov.enabled(physical) as [function]:
        yield function


@contextlib.contextmanager
def through_group(function: PciFunction, token: UUID | None = None) -> Iterator[Device]:
    """Open the function through its group, with VFIO_GROUP_GET_DEVICE_FD."""
    number = function.iommu_group
    assert number is not None
    with Container() as container, Group(number) as group:
        group.set_container(container)
        container.set_iommu(lib.VFIO_TYPE1v2_IOMMU)
        with group.device(function.address, token) as device:
            yield device


@contextlib.contextmanager
def through_cdev(function: PciFunction, token: UUID | None = None) -> Iterator[Device]:
    """Open the function by its character device, with VFIO_DEVICE_BIND_IOMMUFD."""
    with Iommufd() as iommufd, Cdev(function.path) as cdev:
        cdev.bind_iommufd(iommufd, token)
        yield cdev


@pytest.fixture(params=[through_group, through_cdev], ids=["group", "cdev"])
def opening(request: pytest.FixtureRequest) -> Opening:
    """Each way to open a function with a token in turn."""
    way: Opening = request.param
    return way


def answer(opening: Opening, function: PciFunction, token: UUID | None = None) -> int:
    """The errno of opening the function; it is closed again."""

    def tried() -> None:
        with opening(function, token):
            pass

    return errno_of(tried)()
