"""This file checks that a signal of an eventfd writes to a register, and only there (P8, P7, P3).

What was written is read back from the register. Source: linux/vfio.h, VFIO_DEVICE_IOEVENTFD.
"""

import errno
import time

import pytest

from vfio_hw.devices.e1000e import MULTICAST
from vfio_hw.errors import KernelSplat
from vfio_hw.uapi import lib
from vfio_hw.vfio.config import COMMAND
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.ioeventfd import (
    WIDTHS,
    assign,
    assign_errno,
    deassign,
    deassign_errno,
    set_ioeventfd_errno,
)
from vfio_hw.vfio.opened import opened

MODE = "vfio_type1v2_iommu"
MODES = [MODE, "iommufd"]
BAR0 = lib.VFIO_PCI_BAR0_REGION_INDEX
COMMAND_MEMORY = 1 << 1
# Registers of edu that keep what is written, the first its complement. Source: docs/specs/edu.rst.
COMPLEMENT, DMA_SOURCE = 0x04, 0x80
PROMPT, WATCHED = 5.0, 0.1


def becomes(bar, offset: int, width: int, value: int) -> None:
    """The register has, or within the deadline gets, this value."""
    end = time.monotonic() + PROMPT
    while (now := bar.get(offset, width)) != value:
        if time.monotonic() > end:
            raise KernelSplat(f"{offset:#x} is {now:#x} and not {value:#x}", oracle="answer")
        time.sleep(0.002)


def stays(bar, offset: int, value: int) -> None:
    """The register has this value, and has it still after a while."""
    assert bar.get(offset, 4) == value
    time.sleep(WATCHED)
    assert bar.get(offset, 4) == value


@pytest.mark.promise("P8")
@pytest.mark.parametrize("width", WIDTHS)
def test_a_signal_writes_as_many_bytes_as_were_asked_for(nic, width):
    """Wider data are cut. The registers have 4 bytes, which a narrower write fills with zeros."""
    device, bar = nic
    data = 0x8877665544332211
    written = data & (1 << 8 * width) - 1
    for number in range(3):
        bar.put(MULTICAST + 4 * number, 4, 0xEEEEEEEE)
    with EventFd() as eventfd:
        assign(device, bar, MULTICAST, width, data, eventfd)
        assert bar.get(MULTICAST, 4) == 0xEEEEEEEE
        for _ in range(2):
            eventfd.signal()
            becomes(bar, MULTICAST, 4, written & 0xFFFFFFFF)
            second = written >> 32 if width == 8 else 0xEEEEEEEE
            becomes(bar, MULTICAST + 4, 4, second)
            assert bar.get(MULTICAST + 8, 4) == 0xEEEEEEEE
            assert eventfd.fired() == 0, "the signal was left to be read"
            bar.put(MULTICAST, 4, 0xEEEEEEEE)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", MODES)
def test_a_signal_writes_to_edu(edu, mode):
    """4 bytes, of which the device shows the complement, and 8 bytes in one."""
    with opened(edu.path, mode) as user, EventFd() as eventfd:
        bar = user.device.region(BAR0)
        assign(user.device, bar, COMPLEMENT, 4, 0x12345678, eventfd)
        assign(user.device, bar, DMA_SOURCE, 8, 0x1122334455667788, eventfd)
        eventfd.signal()
        becomes(bar, COMPLEMENT, 4, 0xEDCBA987)
        becomes(bar, DMA_SOURCE, 8, 0x1122334455667788)
        bar.put(DMA_SOURCE, 8, 0)


@pytest.mark.promise("P8")
def test_an_eventfd_that_is_signalled_already_writes_at_once(nic):
    device, bar = nic
    bar.put(MULTICAST, 4, 1)
    with EventFd() as eventfd:
        eventfd.signal()
        assign(device, bar, MULTICAST, 4, 2, eventfd)
        becomes(bar, MULTICAST, 4, 2)


@pytest.mark.promise("P8")
def test_what_is_taken_away_writes_no_more_and_only_the_same_write_is_it(nic):
    """The same is its place, its width and its data; whatever differs in one is ENODEV."""
    device, bar = nic
    bar.put(MULTICAST, 4, 1)
    with EventFd() as eventfd:
        for _ in range(2):
            assert deassign_errno(device, bar, MULTICAST, 4, 2) == errno.ENODEV
            assign(device, bar, MULTICAST, 4, 2, eventfd)
            for other in (
                (MULTICAST + 4, 4, 2),
                (MULTICAST, 2, 2),
                (MULTICAST, 4, 3),
                (MULTICAST, 4, 2 | 1 << 32),
            ):
                assert deassign_errno(device, bar, *other) == errno.ENODEV
            deassign(device, bar, MULTICAST, 4, 2)
            eventfd.signal()
            stays(bar, MULTICAST, 1)
            assert eventfd.fired() == 1
        assert deassign_errno(device, bar, MULTICAST, 4, 2) == errno.ENODEV


@pytest.mark.promise("P8")
def test_the_same_write_is_assigned_once_and_other_data_beside_it(nic):
    """EEXIST for any eventfd, which changes nothing; each eventfd writes its own."""
    device, bar = nic
    with EventFd() as one, EventFd() as other:
        assign(device, bar, MULTICAST, 4, 1, one)
        for eventfd in (one, other):
            assert assign_errno(device, bar, MULTICAST, 4, 1, eventfd) == errno.EEXIST
        assign(device, bar, MULTICAST, 4, 2, other)
        assign(device, bar, MULTICAST + 4, 4, 1, other)
        bar.put(MULTICAST, 4, 0)
        one.signal()
        becomes(bar, MULTICAST, 4, 1)
        other.signal()
        becomes(bar, MULTICAST, 4, 2)
        becomes(bar, MULTICAST + 4, 4, 1)


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_flags_name_one_width_and_the_descriptor_is_an_eventfd(nic):
    device, bar = nic
    where = bar.offset + MULTICAST
    bar.put(MULTICAST, 4, 1)
    with EventFd() as eventfd, EventFd() as closed:
        gone = closed.fileno()
        closed.close()
        fd = eventfd.fileno()
        every = range(1 << 5)
        several = [flags for flags in every if flags not in WIDTHS.values()]
        for flags in (*several, WIDTHS[4] | 1 << 31):
            assert set_ioeventfd_errno(device, flags, where, 2, fd) == errno.EINVAL, f"{flags:#x}"
        for number, expected in (
            (-2, errno.EINVAL),
            (-(2**31), errno.EINVAL),
            (gone, errno.EBADF),
            (device.fileno(), errno.EINVAL),
        ):
            assert set_ioeventfd_errno(device, WIDTHS[4], where, 2, number) == expected
        eventfd.signal()
        stays(bar, MULTICAST, 1)
        assert assign_errno(device, bar, MULTICAST, 4, 2, eventfd) == 0


@pytest.mark.promise("P3")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("first", ["device", "eventfd"])
def test_device_and_eventfd_are_closed_in_either_order(e1000e, mode, first):
    """After the device file nothing is written any more; after the eventfd it can be taken away."""
    with EventFd() as eventfd:
        with opened(e1000e.path, mode) as user:
            bar = user.device.region(BAR0)
            assign(user.device, bar, MULTICAST, 4, 2, eventfd)
            if first == "eventfd":
                eventfd.close()
                deassign(user.device, bar, MULTICAST, 4, 2)
                assert deassign_errno(user.device, bar, MULTICAST, 4, 2) == errno.ENODEV
                return
        with opened(e1000e.path, mode) as user:
            bar = user.device.region(BAR0)
            bar.put(MULTICAST, 4, 1)
            eventfd.signal()
            stays(bar, MULTICAST, 1)
            assert eventfd.fired() == 1
            assert deassign_errno(user.device, bar, MULTICAST, 4, 2) == errno.ENODEV


@pytest.mark.promise("P8")
def test_nothing_is_written_while_memory_is_disabled(nic):
    """What was signalled meanwhile is not made up for."""
    device, bar = nic
    space = device.config()
    enabled = space.get(COMMAND, 2)
    bar.put(MULTICAST, 4, 1)
    with EventFd() as eventfd:
        assign(device, bar, MULTICAST, 4, 2, eventfd)
        space.put(COMMAND, 2, enabled & ~COMMAND_MEMORY)
        eventfd.signal()
        time.sleep(WATCHED)
        space.put(COMMAND, 2, enabled | COMMAND_MEMORY)
        stays(bar, MULTICAST, 1)
        eventfd.signal()
        becomes(bar, MULTICAST, 4, 2)
