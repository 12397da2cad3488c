"""This file checks a function with several MSIs: which are armed, and what signals which (P8).

Nothing is added to a set of them, and what was refused changes nothing (P7). Source: linux/vfio.h,
VFIO_DEVICE_GET_IRQ_INFO and VFIO_DEVICE_SET_IRQS.
"""

import contextlib
import errno
from collections.abc import Iterator, Sequence

import pytest

from vfio_hw.errors import Unsupported
from vfio_hw.fixtures.devices import may_take
from vfio_hw.fixtures.interrupts import handlers
from vfio_hw.host.binding import bound_to
from vfio_hw.host.inventory import functions
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.sysfs import names_in
from vfio_hw.uapi import lib
from vfio_hw.vfio import config, irq
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.opened import opened

pytestmark = pytest.mark.machine("vga")
MSI = lib.VFIO_PCI_MSI_IRQ_INDEX
NORESIZE = lib.VFIO_IRQ_INFO_NORESIZE
# NEC's uPD720200, as QEMU has it.
XHCI = "1033:0194"
#: Which of the first vectors have an eventfd.
SPARSE = (True, False, True, False, False, True)


@pytest.fixture
def xhci(pytestconfig: pytest.Config) -> Iterator[PciFunction]:
    """A function that can send several MSIs, bound to vfio-pci.

    :raises Unsupported: there is none that the tests may take.
    """
    found = [each for each in functions(PCI_ID=XHCI) if may_take(pytestconfig, each)]
    if not found:
        raise Unsupported("no xHCI that is QEMU's nec-usb-xhci")
    with bound_to(found[0]) as function:
        yield function


@pytest.fixture
def several(xhci: PciFunction) -> Iterator[tuple[Device, int]]:
    """The same, open, and how many it can send: more than a few."""
    with opened(xhci.path, "vfio_type1v2_iommu") as user:
        count = user.device.irq(MSI).count
        assert count >= len(SPARSE)
        yield user.device, count


@contextlib.contextmanager
def eventfds(count: int) -> Iterator[list[EventFd]]:
    """New ones, one for each vector."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(EventFd(f"vector {number}")) for number in range(count)]


def fired(all_of_them: Sequence[EventFd]) -> set[int]:
    """Those that were signalled since this was last asked, each once."""
    counts = [each.fired() for each in all_of_them]
    assert set(counts) <= {0, 1}, counts
    return {vector for vector, count in enumerate(counts) if count}


def listed(device: Device, vectors: Sequence[int]) -> list[str]:
    """What /proc/interrupts has of these."""
    return sorted(f"vfio-msi[{vector}]({device.name})" for vector in vectors)


@pytest.mark.promise("P8")
def test_there_are_as_many_as_the_capability_can_send(several):
    """Multiple Message Capable, bits 1 to 3 of Message Control: the logarithm of the number."""
    device, count = several
    space = device.config()
    control = space.get(space.capability(config.CAPABILITY_MSI) + 2, 2)
    assert count == 1 << (control >> 1 & 7)


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_no_vector_is_added_and_the_index_says_so(several):
    """Not until the whole index was disabled: VFIO_IRQ_INFO_NORESIZE. The first one stays."""
    device, count = several
    assert device.irq(MSI).flags & NORESIZE
    with irq.armed(device, MSI) as [first], eventfds(count) as others:
        for start, number in ((1, 1), (1, 2), (2, 1), (count - 1, 1), (1, count - 1)):
            given = others[start : start + number]
            answer = irq.arm_errno(device, MSI, given, start=start)
            assert answer == errno.EINVAL, (start, number)
            irq.signal(device, MSI, count=count)
            assert first.fired() == 1
            assert fired(others) == set()
            assert handlers(device.name) == listed(device, [0])
        irq.disarm(device, MSI)
        irq.arm(device, MSI, others)
        irq.signal(device, MSI, count=count)
        assert (first.fired(), fired(others)) == (0, set(range(count)))


@pytest.mark.promise("P8")
def test_exactly_the_vectors_that_were_given_an_eventfd_signal_it(several):
    """Of all at once, of each alone, and where one says true; those with -1 are skipped."""
    device, _ = several
    with eventfds(len(SPARSE)) as made:
        irq.arm(
            device, MSI, [each if used else None for each, used in zip(made, SPARSE, strict=True)]
        )
        armed = {vector for vector, used in enumerate(SPARSE) if used}
        assert handlers(device.name) == listed(device, sorted(armed))
        irq.signal(device, MSI, count=len(SPARSE))
        assert fired(made) == armed
        for vector in range(len(SPARSE)):
            irq.signal(device, MSI, start=vector)
            assert fired(made) == armed & {vector}
        for which in ([True] * 6, [False] * 6, [True, True, False], [False, False, True, True]):
            irq.signal_where(device, MSI, which)
            assert fired(made) == {n for n, true in enumerate(which) if true} & armed
        irq.signal_where(device, MSI, [True, False, False, True], start=2)
        assert fired(made) == {2, 5}


@pytest.mark.promise("P8")
def test_each_of_all_vectors_signals_its_own_eventfd(several):
    device, count = several
    with irq.armed(device, MSI, count) as made:
        for vector in range(count):
            irq.signal(device, MSI, start=vector)
            assert fired(made) == {vector}


@pytest.mark.promise("P8")
def test_one_of_several_changes_its_eventfd_and_loses_it(several):
    """And the others keep theirs, also while an index that says NORESIZE is armed."""
    device, _ = several
    with irq.armed(device, MSI, 4) as made, EventFd("another") as another:
        irq.arm(device, MSI, [another], start=2)
        irq.signal(device, MSI, count=4)
        assert (fired(made), another.fired()) == ({0, 1, 3}, 1)
        irq.arm(device, MSI, [None], start=2)
        assert handlers(device.name) == listed(device, [0, 1, 3])
        irq.signal(device, MSI, count=4)
        assert (fired(made), another.fired()) == ({0, 1, 3}, 0)


@pytest.mark.promise("P9")
def test_all_vectors_leave_with_their_index_or_their_device(xhci):
    """sysfs lists those that the kernel has set up, and /proc/interrupts who handles them."""
    shown = xhci.path / "msi_irqs"
    with opened(xhci.path, "vfio_type1v2_iommu") as user:
        for by_closing in (False, True):
            with irq.armed(user.device, MSI, 4):
                assert handlers(xhci.address) == listed(user.device, range(4))
                assert len(names_in(shown)) == 4
                if by_closing:
                    user.device.close()
                else:
                    irq.disarm(user.device, MSI)
                assert handlers(xhci.address) == []
                assert names_in(shown) == []
