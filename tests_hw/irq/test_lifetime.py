"""This file checks that no interrupt and no eventfd outlives its use, or a failure (P9, P7).

An eventfd has a number, the lowest free one, as long as anybody holds it: fdinfo of a new one tells
whether an old one is gone. Source: eventfd_show_fdinfo() in fs/eventfd.c.
"""

import errno
import time
from pathlib import Path

import pytest

from vfio_hw.devices.edu import ACKNOWLEDGE, RAISE, acknowledged
from vfio_hw.fixtures import Target
from vfio_hw.fixtures.interrupts import handlers
from vfio_hw.uapi import lib
from vfio_hw.vfio import irq
from vfio_hw.vfio.descriptor import Descriptor
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.irq import EVENTFD, TRIGGER, UNMASK
from vfio_hw.vfio.opened import opened

MODES = ["vfio_type1v2_iommu", "iommufd"]
INTX = lib.VFIO_PCI_INTX_IRQ_INDEX
MSI = lib.VFIO_PCI_MSI_IRQ_INDEX
MSIX = lib.VFIO_PCI_MSIX_IRQ_INDEX
ERR = lib.VFIO_PCI_ERR_IRQ_INDEX
REQ = lib.VFIO_PCI_REQ_IRQ_INDEX
INDICES = {"INTX": INTX, "MSI": MSI, "MSIX": MSIX, "ERR": ERR, "REQ": REQ}
PROMPT, WATCHED = 5.0, 0.1


@pytest.fixture
def device(e1000e):
    """A device with every kind of interrupt."""
    with opened(e1000e.path, MODES[0]) as user:
        yield user.device


def number(eventfd: EventFd) -> int:
    """The number of the eventfd in the kernel."""
    text = Path(f"/proc/self/fdinfo/{eventfd.fileno()}").read_text()
    return int(dict(line.split(":", 1) for line in text.splitlines())["eventfd-id"])


def given_back(taken: int) -> bool:
    """A new eventfd gets the number, within the time that the kernel takes to free the old one."""
    end = time.monotonic() + PROMPT
    while time.monotonic() < end:
        with EventFd() as new:
            if number(new) == taken:
                return True
        time.sleep(0.005)
    return False


def arm_and_forget(device: Device, index: int) -> int:
    """An eventfd that only the kernel holds, armed; its number."""
    with EventFd("held by the kernel") as ours:
        irq.arm(device, index, [ours])
        return number(ours)


def take_away(device: Device, index: int) -> None:
    irq.arm(device, index, [None])


def replace(device: Device, index: int) -> None:
    """Another one takes its place, and is taken away in turn."""
    arm_and_forget(device, index)
    irq.disarm(device, index)


@pytest.mark.promise("P9")
@pytest.mark.parametrize("end", [take_away, irq.disarm, replace], ids=lambda way: way.__name__)
def test_an_eventfd_is_held_as_long_as_it_is_armed(device, end):
    for name, index in INDICES.items():
        taken = arm_and_forget(device, index)
        with EventFd() as other:
            assert number(other) != taken, name
        end(device, index)
        assert given_back(taken), name
        # The kinds of interrupts exclude each other, until the last vector is disarmed.
        assert irq.disarm_errno(device, index) in (0, errno.EINVAL)


@pytest.mark.promise("P9")
@pytest.mark.parametrize("index", [INTX, MSI, MSIX], ids=["INTX", "MSI", "MSIX"])
def test_closing_a_device_gives_all_its_eventfds_back(device, index):
    taken = [arm_and_forget(device, each) for each in (index, ERR, REQ)]
    device.close()
    assert given_back(min(taken))


@pytest.mark.promise("P7")
def test_an_eventfd_is_not_held_by_a_request_that_failed(device, e1000e):
    """Nor is any vector armed, nor the index: another one can be."""
    with EventFd() as first, EventFd() as second, EventFd() as no_number:
        numbers = [number(first), number(second)]
        closed = Descriptor(no_number.fileno(), "closed")
        no_number.close()
        bad = [first, second, closed]
        assert irq.arm_errno(device, MSIX, bad) == errno.EBADF
        assert handlers(e1000e.address) == []
        assert irq.signal_errno(device, MSIX) == errno.EINVAL
        for index in (INTX, MSI, ERR, REQ):
            assert irq.arm_errno(device, index, [closed]) == errno.EBADF
            assert handlers(e1000e.address) == []
    assert given_back(min(numbers))
    with irq.armed(device, INTX) as [eventfd]:
        irq.signal(device, INTX)
        assert eventfd.fired() == 1


@pytest.mark.promise("P7")
def test_vectors_beside_a_request_that_failed_stay_armed(device, e1000e):
    """Those that it was about have their own eventfd or none, as linux/vfio.h says neither."""
    with irq.armed(device, MSIX, 4) as eventfds, EventFd("new") as new:
        with EventFd() as gone:
            closed = Descriptor(gone.fileno(), "closed")
        assert irq.arm_errno(device, MSIX, [new, closed], start=1) == errno.EBADF
        left = handlers(e1000e.address)
        assert f"vfio-msix[0]({e1000e.address})" in left
        assert f"vfio-msix[3]({e1000e.address})" in left
        irq.signal(device, MSIX, count=4)
        assert [eventfds[vector].fired() for vector in (0, 3)] == [1, 1]
        assert new.fired() == 0
        armed = [vector for vector in (1, 2) if f"vfio-msix[{vector}]({e1000e.address})" in left]
        assert [vector for vector in (1, 2) if eventfds[vector].fired()] == armed


@pytest.mark.promise("P9")
@pytest.mark.parametrize("mode", MODES)
def test_the_next_user_has_no_eventfd_of_the_one_before(pci_device: Target, mode):
    with EventFd("of the first user") as old:
        for kind in (INTX, MSI):
            with opened(pci_device.path, mode) as user:
                # A kernel may have ERR for PCI Express functions only.
                had = [kind, REQ, *([] if user.device.irq_errno(ERR) else [ERR])]
                for index in had:
                    irq.arm(user.device, index, [old])
                    irq.signal(user.device, index)
                assert old.fired() == len(had)
            with opened(pci_device.path, mode) as user:
                for index in (INTX, MSI, ERR, REQ):
                    assert irq.signal_errno(user.device, index) == errno.EINVAL
                assert old.fired() == 0


@pytest.mark.promise("P2")
@pytest.mark.parametrize("mode", MODES)
def test_only_the_owner_of_now_is_asked_for_the_device(pci_device: Target, mode):
    with EventFd("of the first user") as old:
        with opened(pci_device.path, mode) as user:
            irq.arm(user.device, REQ, [old])
        with opened(pci_device.path, mode) as user, EventFd("of the second") as new:
            irq.arm(user.device, REQ, [new])
            with pci_device.removal() as removal:
                assert new.wait(PROMPT) == 1
                assert old.fired() == 0
                user.device.close()
                removal.must_return(PROMPT)


@pytest.mark.promise("P8")
def test_intx_without_an_eventfd_waits_for_the_next_one(opened_edu):
    """What the device raises meanwhile does no harm, masks the line, and comes with the unmask."""
    device, registers = opened_edu
    with EventFd("old") as old, EventFd("new") as new:
        irq.arm(device, INTX, [old])
        irq.arm(device, INTX, [None])
        assert irq.signal_errno(device, INTX) in (0, errno.EINVAL)
        registers.put(RAISE, 4, 1)
        assert old.silent(WATCHED)
        irq.arm(device, INTX, [new])
        irq.unmask(device, INTX)
        assert new.wait(PROMPT) >= 1
        registers.put(ACKNOWLEDGE, 4, 1)
        irq.disarm(device, INTX)
        assert irq.signal_errno(device, INTX) == errno.EINVAL
        assert old.fired() == 0


@pytest.mark.promise("P8")
@pytest.mark.promise("P9")
def test_an_eventfd_unmasks_intx_until_it_is_taken_away(opened_edu):
    """Without us being asked: the interrupt that is pending comes again."""
    device, registers = opened_edu
    with EventFd("the unmask") as unmask:
        taken = number(unmask)
        data = unmask.fileno().to_bytes(4, "little")
        with irq.armed(device, INTX) as [eventfd]:
            irq.set_irqs(device, INTX, EVENTFD | UNMASK, data=data)
            registers.put(RAISE, 4, 1)
            for _ in range(2):
                assert eventfd.wait(PROMPT) == 1
                assert eventfd.silent(WATCHED)
                unmask.signal()
            assert eventfd.wait(PROMPT) == 1
            registers.put(ACKNOWLEDGE, 4, 1)
            irq.set_irqs(device, INTX, EVENTFD | UNMASK, data=b"\xff" * 4)
            unmask.signal()
            registers.put(RAISE, 4, 1)
            assert eventfd.silent(WATCHED), "an eventfd that was taken away unmasked INTx"
            registers.put(ACKNOWLEDGE, 4, 1)
        unmask.close()
        assert given_back(taken)


@pytest.mark.promise("P9")
@pytest.mark.parametrize("mode", MODES)
def test_an_unmask_after_the_device_was_closed_reaches_nobody(edu, mode):
    """The eventfd is ours alone again, whether INTx was disarmed before the close or by it."""
    for disarmed in (True, False):
        with EventFd("the unmask") as unmask, EventFd("INTx") as eventfd:
            with opened(edu.path, mode) as user, acknowledged(user.device):
                irq.arm(user.device, INTX, [eventfd])
                data = unmask.fileno().to_bytes(4, "little")
                irq.set_irqs(user.device, INTX, EVENTFD | UNMASK, data=data)
                if disarmed:
                    irq.disarm(user.device, INTX)
                    unmask.signal()
                    assert eventfd.silent(WATCHED)
            unmask.signal()
            assert eventfd.silent(WATCHED)
            taken = number(unmask)
        assert given_back(taken)


@pytest.mark.promise("P8")
def test_only_vectors_that_exist_are_armed(device):
    """The highest of them is; start and count that reach behind it, or wrap, are refused."""
    count, top = device.irq(MSIX).count, 2**32 - 1
    with EventFd() as eventfd:
        data = eventfd.fileno().to_bytes(4, "little")
        for start, number_of in ((count, 1), (count - 1, 2), (top, 1), (0, count + 1), (1, top)):
            flags = EVENTFD | TRIGGER
            answer = irq.set_irqs_errno(
                device, MSIX, flags, start=start, count=number_of, data=data * (count + 1)
            )
            assert answer == errno.EINVAL, (start, number_of)
        assert irq.arm_errno(device, MSIX, [eventfd], start=count - 1) == 0
        irq.signal(device, MSIX, start=count - 1)
        assert eventfd.fired() == 1
