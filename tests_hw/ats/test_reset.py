"""This file checks who gets an IOMMU for a function that is being reset (P8).

Whoever attaches the function, or another one of its group, to an address space is told EBUSY.
Source: linux/vfio.h, VFIO_DEVICE_ATTACH_IOMMUFD_PT. The kernel does so for functions with ATS,
which have to be cut off from the IOMMU: PCI Express Base Specification, 10.3.1.
"""

import errno
import time
from collections.abc import Callable
from functools import partial

import pytest

from tests_hw.ats.conftest import answers, has_ats, resetting, timed
from vfio_hw.errors import Unsupported
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.sysfs import write
from vfio_hw.uapi import lib
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.descriptor import errno_of
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.iommufd import Iommufd

# A reset takes so many seconds and more, in which there is time for at least so many answers.
_LEAST_RESET = 0.1
ENOUGH = 4
# That attaching is refused is younger than VFIO; a kernel of this release does it.
_SINCE = "7.3"


def by_sysfs(function: PciFunction) -> Callable[[], object]:
    """The reset that whoever writes to sysfs asks for."""
    return lambda: write(function.path / "reset", "1")


def must_be_refused(said: list[int], *, ats: bool) -> None:
    """The answers of a reset: refusals for a function with ATS, and never anything else."""
    assert set(said) <= {0, errno.EBUSY}
    if len(said) < ENOUGH:
        raise Unsupported(f"the reset was over after {len(said)} tries")
    if ats and errno.EBUSY not in said:
        raise Unsupported("no reset cuts a function off from its IOMMU here", since=_SINCE)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("asked", ["sysfs", "VFIO_DEVICE_RESET"])
@pytest.mark.parametrize("name", ["with_ats", "without"])
def test_a_function_is_not_attached_while_it_is_reset(bound, name, asked):
    function = bound[name]
    with Iommufd() as iommufd, Cdev(function.path) as cdev:
        cdev.bind_iommufd(iommufd)
        # The one that it has already would be no attach.
        tables = [iommufd.ioas_alloc(), iommufd.ioas_alloc()]
        attach = [partial(errno_of(cdev.attach), table) for table in tables]
        with resetting(by_sysfs(function) if asked == "sysfs" else cdev.reset) as reset:
            must_be_refused(answers(reset, *attach), ats=has_ats(function))
        assert [each() for each in attach] == [0, 0]


@pytest.mark.promise("P8")
def test_a_function_of_its_group_is_not_attached_either(bound):
    with Iommufd() as iommufd, Cdev(bound["sibling"].path) as cdev:
        cdev.bind_iommufd(iommufd)
        tables = [iommufd.ioas_alloc(), iommufd.ioas_alloc()]
        attach = [partial(errno_of(cdev.attach), table) for table in tables]
        with resetting(by_sysfs(bound["with_ats"])) as reset:
            must_be_refused(answers(reset, *attach), ats=True)
        assert [each() for each in attach] == [0, 0]


@pytest.mark.promise("P8")
def test_a_function_is_detached_before_its_reset_is_over(bound):
    """What takes the address space away is neither refused nor put off, and stays done."""
    function = bound["with_ats"]
    with Iommufd() as iommufd, Cdev(function.path) as cdev:
        cdev.bind_iommufd(iommufd)
        has, other = iommufd.ioas_alloc(), iommufd.ioas_alloc()
        cdev.attach(has)
        with resetting(by_sysfs(function)) as reset:
            while not reset.done():
                if errno_of(cdev.attach)(other) == errno.EBUSY:
                    break
                has, other = other, has
            else:
                raise Unsupported("no reset cuts a function off from its IOMMU", since=_SINCE)
            cdev.detach()
            assert not reset.done()
            # An address space that a device still had could not go.
            iommufd.destroy(has.id)
        cdev.attach(other)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("name", ["with_ats", "without"])
def test_a_function_that_is_reset_leaves_the_kernels_own_dma_for_no_container(bound, name):
    """A container's first group does that, which is an attach too."""

    def asked() -> int:
        with Container() as container, Group(bound[name].iommu_group) as group:
            return errno_of(group.set_container)(container)

    with resetting(by_sysfs(bound[name])) as reset:
        must_be_refused(answers(reset, asked), ats=has_ats(bound[name]))
    with Container() as container, Group(bound[name].iommu_group) as group:
        group.set_container(container)
        container.set_iommu(lib.VFIO_TYPE1v2_IOMMU)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("name", ["with_ats", "without"])
def test_a_container_gets_no_iommu_for_a_function_that_is_reset(bound, name):
    """A container that has the group already asks at ever later moments of a reset.

    :raises Unsupported: it was never refused, or no answer was surely given during a reset.
    """
    function, ats = bound[name], has_ats(bound[name])
    said, inside = [], False
    for tenth in range(1, 10):
        with Container() as container, Group(function.iommu_group) as group:
            group.set_container(container)
            with resetting(timed(by_sysfs(function))) as reset:
                time.sleep(tenth * _LEAST_RESET / 10)
                asked = time.monotonic()
                said.append(container.set_iommu_errno(lib.VFIO_TYPE1v2_IOMMU))
                answered = time.monotonic()
            began, over = reset.result()
            # Whatever the threads had to wait for, a reset that takes so long was going on.
            inside |= over - _LEAST_RESET <= asked and answered <= began + _LEAST_RESET
            if said[-1]:
                # What was refused once is not spoilt.
                container.set_iommu(lib.VFIO_TYPE1v2_IOMMU)
        if said[-1] == errno.EBUSY:
            break
    assert set(said) <= ({0, errno.EBUSY} if ats else {0})
    if ats and errno.EBUSY not in said:
        if not inside:
            raise Unsupported("no answer was surely given during a reset")
        raise Unsupported("no reset cuts a function off from its IOMMU here", since=_SINCE)
