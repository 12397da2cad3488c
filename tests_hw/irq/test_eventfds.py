"""This file checks that a loopback signals exactly the eventfds that are armed (P8).

It also checks that an armed interrupt is in /proc/interrupts, and that it leaves with its eventfd,
its index or its device (P9).
"""

import errno

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.fixtures.interrupts import (
    each_interrupt,
    each_kind_with,
    handlers,
    need_interrupt,
)
from vfio_hw.uapi import lib
from vfio_hw.vfio import irq
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.opened import opened

MODE = "vfio_type1v2_iommu"
INTX = lib.VFIO_PCI_INTX_IRQ_INDEX
MSI = lib.VFIO_PCI_MSI_IRQ_INDEX
MSIX = lib.VFIO_PCI_MSIX_IRQ_INDEX
ERR = lib.VFIO_PCI_ERR_IRQ_INDEX
REQ = lib.VFIO_PCI_REQ_IRQ_INDEX
# Vectors that are tried one by one, of a device that may have many.
SOME = 5

vectors = each_interrupt("INTX", "MSI", "MSIX")
events = each_interrupt("ERR", "REQ")
every_msix = each_kind_with("MSIX")


@pytest.fixture
def user(device: Target):
    with opened(device.path, MODE) as user:
        yield user


@pytest.fixture
def msix(user):
    """A device with MSI-X, and how many vectors of it the tests use."""
    count = min(user.device.irq(MSIX).count, SOME)
    assert count > 3
    return user.device, count


@pytest.mark.promise("P8")
@vectors
def test_a_loopback_signals_the_armed_eventfd_once(user, index):
    with irq.armed(user.device, index) as [eventfd]:
        assert eventfd.fired() == 0
        irq.signal(user.device, index)
        assert eventfd.fired() == 1
        assert eventfd.fired() == 0


@pytest.mark.promise("P8")
@vectors
def test_a_loopback_of_bools_signals_only_where_one_is_true(user, index):
    with irq.armed(user.device, index) as [eventfd]:
        irq.signal_where(user.device, index, [False])
        assert eventfd.fired() == 0
        irq.signal_where(user.device, index, [True])
        assert eventfd.fired() == 1


@pytest.mark.promise("P8")
@vectors
def test_a_new_eventfd_takes_the_place_of_the_old(user, index):
    with irq.armed(user.device, index) as [old], EventFd("new") as new:
        irq.arm(user.device, index, [new])
        irq.signal(user.device, index)
        assert (old.fired(), new.fired()) == (0, 1)


@pytest.mark.promise("P8")
@vectors
def test_nothing_is_signalled_that_was_never_armed_or_is_armed_no_more(user, index):
    assert irq.signal_errno(user.device, index) == errno.EINVAL
    with irq.armed(user.device, index) as [eventfd]:
        irq.disarm(user.device, index)
        assert irq.signal_errno(user.device, index) == errno.EINVAL
        assert irq.disarm_errno(user.device, index) == errno.EINVAL
        assert eventfd.fired() == 0


@pytest.mark.promise("P8")
@vectors
def test_taking_the_eventfd_away_silences_the_interrupt(user, index):
    """Whether the index then counts as armed, drivers decide; nothing is signalled in any case."""
    with irq.armed(user.device, index) as [eventfd]:
        irq.arm(user.device, index, [None])
        assert irq.signal_errno(user.device, index) in (0, errno.EINVAL)
        assert eventfd.fired() == 0
        irq.arm(user.device, index, [eventfd])
        irq.signal(user.device, index)
        assert eventfd.fired() == 1


@pytest.mark.promise("P8")
def test_intx_and_msi_exclude_each_other(user):
    with irq.armed(user.device, INTX) as [intx], EventFd("MSI") as msi:
        assert irq.arm_errno(user.device, MSI, [msi]) == errno.EINVAL
        irq.signal(user.device, INTX)
        assert (intx.fired(), msi.fired()) == (1, 0)
        irq.disarm(user.device, INTX)
        assert irq.arm_errno(user.device, MSI, [msi]) == 0
        assert irq.arm_errno(user.device, INTX, [intx]) == errno.EINVAL


@pytest.mark.promise("P8")
def test_intx_of_mtty_masks_itself(mtty):
    """It honours that for a loopback too, where vfio-pci signals even what is masked."""
    with opened(mtty.path, MODE) as user, irq.armed(user.device, INTX) as [eventfd]:
        for steps, expected in (([], 1), ([], 0), ([irq.unmask], 1), ([irq.unmask, irq.mask], 0)):
            for step in steps:
                step(user.device, INTX)
            irq.signal(user.device, INTX)
            assert eventfd.fired() == expected, f"after {steps}"


@pytest.mark.promise("P8")
@every_msix
def test_each_msi_x_vector_signals_its_own_eventfd(msix):
    device, count = msix
    with irq.armed(device, MSIX, count) as eventfds:
        for vector in range(count):
            irq.signal(device, MSIX, start=vector)
            assert [each.fired() for each in eventfds] == [int(n == vector) for n in range(count)]
        irq.signal(device, MSIX, start=1, count=2)
        assert [each.fired() for each in eventfds] == [int(n in (1, 2)) for n in range(count)]
        irq.signal_where(device, MSIX, [True, False, True])
        assert [each.fired() for each in eventfds] == [int(n in (0, 2)) for n in range(count)]


@pytest.mark.promise("P8")
@every_msix
def test_vectors_without_an_eventfd_are_skipped(msix):
    device, _ = msix
    with EventFd("first") as first, EventFd("third") as third:
        irq.arm(device, MSIX, [first, None, third])
        names = [f"vfio-msix[{vector}]({device.name})" for vector in (0, 2)]
        assert handlers(device.name) == names
        irq.signal(device, MSIX, count=3)
        assert (first.fired(), third.fired()) == (1, 1)


@pytest.mark.promise("P8")
@every_msix
def test_a_vector_can_be_added_later_unless_the_index_says_not(msix):
    """Which kernels may not say so any more, fixtures/devices tells.

    Source: VFIO_IRQ_INFO_NORESIZE in linux/vfio.h.
    """
    device, count = msix
    fixed = device.irq(MSIX).flags & lib.VFIO_IRQ_INFO_NORESIZE
    with irq.armed(device, MSIX) as [first], EventFd("last") as last:
        answer = irq.arm_errno(device, MSIX, [last], start=count - 1)
        assert answer == (errno.EINVAL if fixed else 0)
        irq.signal(device, MSIX, count=count)
        assert (first.fired(), last.fired()) == (1, 0 if fixed else 1)


@pytest.mark.promise("P8")
@events
def test_events_of_the_device_are_armed_signalled_and_disarmed(device: Target, index):
    need_interrupt(device, index)
    with opened(device.path, MODE) as user, irq.armed(user.device, index) as [eventfd]:
        irq.signal(user.device, index)
        assert eventfd.fired() == 1
        irq.arm(user.device, index, [None])
        assert irq.signal_errno(user.device, index) == errno.EINVAL
        irq.arm(user.device, index, [eventfd])
        irq.disarm(user.device, index)
        assert irq.signal_errno(user.device, index) == errno.EINVAL
        assert eventfd.fired() == 0


@pytest.mark.promise("P8")
@every_msix
def test_events_and_interrupts_do_not_mix(msix):
    device, _ = msix
    with (
        irq.armed(device, MSIX) as [vector],
        irq.armed(device, ERR) as [error],
        irq.armed(device, REQ) as [request],
    ):
        for index, expected in ((MSIX, (1, 0, 0)), (ERR, (0, 1, 0)), (REQ, (0, 0, 1))):
            irq.signal(device, index)
            assert (vector.fired(), error.fired(), request.fired()) == expected


@pytest.mark.promise("P9")
@pytest.mark.parametrize(
    ("index", "form"),
    [(INTX, "vfio-intx({})"), (MSI, "vfio-msi[0]({})")],
    ids=["INTX", "MSI"],
)
def test_an_armed_interrupt_is_listed_until_it_is_disarmed(pci_device: Target, index, form):
    name = pci_device.name
    with opened(pci_device.path, MODE) as user:
        assert handlers(name) == []
        with irq.armed(user.device, index):
            assert handlers(name) == [form.format(name)]
        assert handlers(name) == []


@pytest.mark.promise("P9")
@every_msix
def test_each_armed_msi_x_vector_is_listed_until_its_eventfd_goes(msix):
    device, count = msix
    names = [f"vfio-msix[{vector}]({device.name})" for vector in range(count)]
    with irq.armed(device, MSIX, count):
        assert handlers(device.name) == names
        irq.arm(device, MSIX, [None], start=1)
        assert handlers(device.name) == [names[0], *names[2:]]
    assert handlers(device.name) == []


@pytest.mark.promise("P9")
@each_interrupt("INTX", "MSI", "MSIX", kinds=("edu", "e1000e", "nvme"))
def test_closing_the_device_disarms_it(device: Target, index):
    with opened(device.path, MODE) as user, irq.armed(user.device, index):
        assert len(handlers(device.name)) == 1
        user.device.close()
        assert handlers(device.name) == []
