"""This file checks that interrupts are told and armed before anything else was asked (P8).

Nothing says that a device has to be asked what it is first: not linux/vfio.h, at
VFIO_DEVICE_GET_IRQ_INFO and VFIO_DEVICE_SET_IRQS, nor Documentation/driver-api/vfio.rst.
opened() asks that of every device, so these tests open theirs themselves.
"""

import contextlib
import errno
from collections.abc import Callable, Iterator

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.fixtures.interrupts import each_kind_with
from vfio_hw.uapi import lib
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.irq import arm_errno, armed, signal

#: Opens a device and asks it nothing; closed after.
Opening = Callable[[Target], contextlib.AbstractContextManager[Device]]

INTX = lib.VFIO_PCI_INTX_IRQ_INDEX


@contextlib.contextmanager
def through_group(target: Target) -> Iterator[Device]:
    with Container() as container, Group(target.iommu_group) as group:
        group.set_container(container)
        container.set_iommu(lib.VFIO_TYPE1v2_IOMMU)
        with group.device(target.name) as device:
            yield device


@contextlib.contextmanager
def through_cdev(target: Target) -> Iterator[Device]:
    with Iommufd() as iommufd, Cdev(target.path) as cdev:
        cdev.bind_iommufd(iommufd)
        cdev.attach(iommufd.ioas_alloc())
        yield cdev


@pytest.fixture(params=[through_group, through_cdev], ids=["vfio_type1v2_iommu", "iommufd"])
def opening(request: pytest.FixtureRequest) -> Opening:
    """Each way to open a device in turn."""
    way: Opening = request.param
    return way


@pytest.mark.promise("P8")
def test_interrupts_are_told_to_whoever_asks_for_them_first(every_kind: Target, opening: Opening):
    """The same as after the device was asked how many indices it has: all of a display's are 0."""
    with opening(every_kind) as device:
        first = [device.irq_errno(index) for index in range(lib.VFIO_PCI_NUM_IRQS)]
        assert device.info().num_irqs == lib.VFIO_PCI_NUM_IRQS
        assert first == [device.irq_errno(index) for index in range(lib.VFIO_PCI_NUM_IRQS)]


@pytest.mark.promise("P8")
@each_kind_with("INTX")
def test_an_interrupt_is_armed_by_the_first_request(device: Target, opening: Opening):
    """It signals its eventfd; to arm it after the device was asked what it is does the same."""
    with opening(device) as user:
        with EventFd() as eventfd:
            answer = arm_errno(user, INTX, [eventfd])
            assert answer == 0, "refused as the first request"
            signal(user, INTX)
            assert eventfd.fired() == 1
            assert arm_errno(user, INTX, [None]) == 0
        user.info()
        with armed(user, INTX) as [eventfd]:
            signal(user, INTX)
            assert eventfd.fired() == 1


@pytest.mark.promise("P8")
@pytest.mark.parametrize("device", ["mdpy", "mbochs"], indirect=True)
def test_a_display_arms_nothing_as_the_first_request(device: Target, opening: Opening):
    """It has no interrupt, which it says before it is asked what it is, and after."""
    with opening(device) as user, EventFd() as eventfd:
        for _ in range(2):
            answers = [arm_errno(user, index, [eventfd]) for index in range(lib.VFIO_PCI_NUM_IRQS)]
            assert set(answers) == {errno.EINVAL}
            assert user.info().num_irqs == lib.VFIO_PCI_NUM_IRQS
