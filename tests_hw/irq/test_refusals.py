"""This file checks what SET_IRQS refuses (P8), and that a refusal changes nothing (P7)."""

import errno

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.fixtures.interrupts import each_interrupt, each_kind_with, need_interrupt
from vfio_hw.uapi import lib
from vfio_hw.vfio import irq
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.irq import BOOL, EVENTFD, MASK, NONE, TRIGGER, UNMASK, set_irqs_errno
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
@pytest.mark.parametrize(
    ("start", "count"), [(1, 1), (0, 2), (0, 6), (ALL, 1), (1, ALL), (ALL, ALL), (5, 0)]
)
def test_vectors_that_do_not_exist_are_refused(armed, start, count):
    """Also where start and count together are small only because the sum wraps."""
    answer = set_irqs_errno(armed, INTX, NONE | TRIGGER, start=start, count=count)
    assert answer == errno.EINVAL


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    "flags",
    [TRIGGER, NONE | BOOL | TRIGGER, NONE | EVENTFD | TRIGGER, NONE | TRIGGER | 1 << 6],
    ids=["no data", "none and bool", "none and eventfd", "unknown flag"],
)
def test_flags_name_exactly_one_kind_of_data(armed, flags):
    assert set_irqs_errno(armed, INTX, flags, data=bytes(4)) == errno.EINVAL


@pytest.mark.promise("P8")
@pytest.mark.parametrize("action", [0, MASK | UNMASK, MASK | TRIGGER, MASK | UNMASK | TRIGGER])
@each_interrupt("INTX", kinds=("edu", "e1000e", "nvme"))
def test_flags_name_exactly_one_action(device: Target, index, action):
    """Not asked of mtty, which takes no action, and says so with success."""
    with opened(device.path, MODE) as user, irq.armed(user.device, index) as [eventfd]:
        assert set_irqs_errno(user.device, index, NONE | action) == errno.ENOTTY
        assert eventfd.fired() == 0


@pytest.mark.promise("P8")
def test_data_that_argsz_does_not_hold_is_refused(armed):
    for flags, data in ((BOOL, b""), (EVENTFD, b""), (EVENTFD, bytes(3))):
        assert set_irqs_errno(armed, INTX, flags | TRIGGER, data=data) == errno.EINVAL


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


@pytest.mark.promise("P8")
@each_kind_with("INTX")
def test_what_is_not_armed_is_not_masked(device: Target):
    with opened(device.path, MODE) as user:
        assert irq.mask_errno(user.device, INTX) == errno.EINVAL
        assert irq.unmask_errno(user.device, INTX) == errno.EINVAL
