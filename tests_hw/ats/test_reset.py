"""This file checks who gets an IOMMU for a function that is being reset (P8).

A function with ATS asks the IOMMU for translations and is told when they end. During its reset it
does neither, so the kernel cuts it off, and refuses to attach it, until that is over. Source: PCI
Express Base Specification, 10.3.1; the kernel-doc of pci_dev_reset_iommu_prepare().
"""

import errno
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from vfio_hw.errors import Unsupported
from vfio_hw.fixtures.devices import may_take
from vfio_hw.host.binding import bound_to
from vfio_hw.host.inventory import functions
from vfio_hw.host.iommu import EXTENDED_ATS, extended_capabilities
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.sysfs import write
from vfio_hw.uapi import lib
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.descriptor import errno_of
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.iommufd import Iommufd

_VIRTIO_RNG = "1AF4:1044"
_DONE = 10.0
# The release that had it is older; what is older than this may lack it.
_SINCE = "7.2"


def has_ats(function: PciFunction) -> bool:
    """Whether it has address translation services."""
    return EXTENDED_ATS in extended_capabilities(function.path)


def taken(config: pytest.Config, *, ats: bool) -> PciFunction:
    found = [each for each in functions(PCI_ID=_VIRTIO_RNG) if may_take(config, each)]
    for function in found:
        if has_ats(function) == ats:
            return function
    raise Unsupported(f"no function {'with' if ats else 'without'} ATS that QEMU has")


@pytest.fixture(params=["with_ats", "without_ats"])
def function(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Iterator[PciFunction]:
    """A function with ATS, and then one without, bound to vfio-pci."""
    with bound_to(taken(pytestconfig, ats=request.param == "with_ats")) as bound:
        yield bound


def while_reset(reset: Callable[[], object], act: Callable[[], int]) -> set[int]:
    """What it answered, again and again, for as long as a reset took."""
    with ThreadPoolExecutor(1) as pool:
        resetting = pool.submit(reset)
        answers = {act()}
        while not resetting.done():
            answers.add(act())
        resetting.result(_DONE)
    return answers


def by_sysfs(function: PciFunction) -> Callable[[], object]:
    """The reset that whoever writes to sysfs asks for."""
    return lambda: write(function.path / "reset", "1")


def must_have_been_refused(function: PciFunction, answers: set[int]) -> None:
    """It was refused during the reset, if the function has ATS, and else never."""
    if not has_ats(function):
        assert answers == {0}
        return
    assert answers <= {0, errno.EBUSY}
    if errno.EBUSY not in answers:
        raise Unsupported("a reset does not cut a function off from its IOMMU", since=_SINCE)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("asked", ["sysfs", "VFIO_DEVICE_RESET"])
def test_a_function_is_not_attached_while_it_is_reset(function: PciFunction, asked: str):
    with Iommufd() as iommufd, Cdev(function.path) as cdev:
        cdev.bind_iommufd(iommufd)
        tables = itertools.cycle([iommufd.ioas_alloc(), iommufd.ioas_alloc()])
        reset = by_sysfs(function) if asked == "sysfs" else cdev.reset
        answers = while_reset(reset, lambda: errno_of(cdev.attach)(next(tables)))
        must_have_been_refused(function, answers)
        assert errno_of(cdev.attach)(next(tables)) == 0


@pytest.mark.promise("P8")
def test_a_function_is_detached_and_closed_while_it_is_reset(function: PciFunction):
    """What takes an IOMMU away from it is not refused, nor is it put off."""
    with Iommufd() as iommufd, Cdev(function.path) as cdev:
        cdev.bind_iommufd(iommufd)
        cdev.attach(iommufd.ioas_alloc())
        assert while_reset(by_sysfs(function), lambda: errno_of(cdev.detach)()) == {0}


@pytest.mark.promise("P8")
def test_a_container_gets_no_iommu_for_a_function_that_is_reset(function: PciFunction):
    def asked() -> int:
        with Container() as container, Group(function.iommu_group) as group:
            # A container's first group leaves the kernel's own DMA, which is an attach too.
            refused = errno_of(group.set_container)(container)
            return refused or container.set_iommu_errno(lib.VFIO_TYPE1v2_IOMMU)

    must_have_been_refused(function, while_reset(by_sysfs(function), asked))
    assert asked() == 0
