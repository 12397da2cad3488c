"""This file checks which indices and eventfds SET_IRQS refuses (P8), and that nothing changes."""

import errno

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.fixtures.interrupts import each_interrupt, each_kind_with, need_interrupt
from vfio_hw.uapi import lib
from vfio_hw.vfio import irq
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.irq import EVENTFD, NONE, TRIGGER, set_irqs_errno
from vfio_hw.vfio.opened import opened

MODE = "vfio_type1v2_iommu"
INTX = lib.VFIO_PCI_INTX_IRQ_INDEX
MSI = lib.VFIO_PCI_MSI_IRQ_INDEX
MSIX = lib.VFIO_PCI_MSIX_IRQ_INDEX
ALL = 2**32 - 1


@pytest.fixture
def armed(device: Target):
    """A device with its INTx armed; all that is refused must leave it so."""
    with opened(device.path, MODE) as user, irq.armed(user.device, INTX) as [eventfd]:
        yield user.device
        assert eventfd.fired() == 0
        irq.signal(user.device, INTX)
        assert eventfd.fired() == 1


@pytest.mark.promise("P8")
def test_an_index_that_does_not_exist_is_refused(armed):
    count = armed.info().num_irqs
    for index in (count, count + 1, ALL):
        assert armed.irq_errno(index) == errno.EINVAL
        assert set_irqs_errno(armed, index, NONE | TRIGGER) == errno.EINVAL


@pytest.mark.promise("P8")
@each_interrupt("INTX", "MSI", "MSIX", "ERR", "REQ")
def test_only_an_eventfd_can_be_armed(device: Target, index):
    """EINVAL for a descriptor of another kind, EBADF for none; then an eventfd still can be."""
    need_interrupt(device, index)
    with opened(device.path, MODE) as user:
        assert irq.arm_errno(user.device, index, [user.container]) == errno.EINVAL
        with EventFd() as closed:
            data = closed.fileno().to_bytes(4, "little")
        assert set_irqs_errno(user.device, index, EVENTFD | TRIGGER, data=data) == errno.EBADF
        with irq.armed(user.device, index) as [eventfd]:
            irq.signal(user.device, index)
            assert eventfd.fired() == 1


@pytest.mark.promise("P8")
@each_kind_with("MSIX")
def test_one_bad_eventfd_arms_no_vector(device: Target):
    with opened(device.path, MODE) as user, EventFd() as good:
        assert irq.arm_errno(user.device, MSIX, [good, user.container]) == errno.EINVAL
        assert irq.signal_errno(user.device, MSIX) == errno.EINVAL
        assert good.fired() == 0


@pytest.mark.promise("P8")
def test_what_is_not_maskable_is_not_masked(device: Target):
    with opened(device.path, MODE) as user, irq.armed(user.device, MSI):
        assert not user.device.irq(MSI).flags & lib.VFIO_IRQ_INFO_MASKABLE
        assert irq.mask_errno(user.device, MSI) == errno.ENOTTY
        assert irq.unmask_errno(user.device, MSI) == errno.ENOTTY
