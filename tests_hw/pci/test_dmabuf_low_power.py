"""This file checks that the dma-buf of a BAR goes with low power as a mapping of the BAR does (P8).

Source: linux/vfio.h, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY and _ENTRY_WITH_WAKEUP. What the mapping
shows is what is expected of the dma-buf.
"""

import contextlib
import errno
import signal
from collections.abc import Callable, Iterator

import pytest

from tests_hw.pci.hidden import BAR0, PROMPT, becomes, map_errno, set_memory, set_power
from vfio_hw.fixtures import Target
from vfio_hw.host.touch import touched
from vfio_hw.vfio import config
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.dma import PAGE
from vfio_hw.vfio.dmabuf import export
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.feature import enter_low_power, enter_low_power_once, exit_low_power
from vfio_hw.vfio.opened import Opened, opened


@contextlib.contextmanager
def shown(user: Opened) -> Iterator[memoryview]:
    """The registers in a mapping of the BAR."""
    with (
        user.device.region(BAR0).mmapped(0, PAGE) as window,
        memoryview(window).cast("I") as registers,
    ):
        yield registers


@pytest.mark.promise("P8")
def test_a_dma_buf_that_is_made_while_the_device_may_sleep_shows_nothing(exporter: Target):
    """As a mapping that is made then; the exit shows both."""
    with opened(exporter.path, "iommufd") as user:
        enter_low_power(user.device)
        with shown(user) as registers, export(user.device, BAR0, [(0, PAGE)]) as buffer:
            assert touched(registers) == signal.SIGBUS
            answer = map_errno(user, buffer)
            assert answer, "it is mapped though the BAR may not be reached"
            assert answer == errno.ENODEV
            exit_low_power(user.device)
            assert touched(registers) == 0
            assert map_errno(user, buffer) == 0


def assert_only_the_exit_shows(device: Target, change: Callable[[Device], None]) -> None:
    with (
        opened(device.path, "iommufd") as user,
        shown(user) as registers,
        export(user.device, BAR0, [(0, PAGE)]) as buffer,
    ):
        enter_low_power(user.device)
        assert map_errno(user, buffer) == errno.ENODEV
        change(user.device)
        assert touched(registers) == signal.SIGBUS
        answer = map_errno(user, buffer)
        assert answer, "it is mapped though the BAR may not be reached"
        assert answer == errno.ENODEV
        exit_low_power(user.device)
        assert touched(registers) == 0
        assert map_errno(user, buffer) == 0


@pytest.mark.promise("P8")
def test_enabling_memory_shows_no_dma_buf_of_a_device_that_may_sleep(exporter: Target):
    assert_only_the_exit_shows(exporter, lambda device: set_memory(device, True))


@pytest.mark.promise("P8")
@pytest.mark.parametrize("how", ["D0", "VFIO_DEVICE_RESET"])
def test_neither_d0_nor_a_reset_shows_a_dma_buf_of_a_device_that_may_sleep(
    nic_exporter: Target, how
):
    changes = {"D0": lambda device: set_power(device, True), "VFIO_DEVICE_RESET": Device.reset}
    assert_only_the_exit_shows(nic_exporter, changes[how])


@pytest.mark.promise("P8")
def test_a_dma_buf_is_back_when_the_wakeup_was_told(exporter: Target):
    """LOW_POWER_EXIT is optional then, and changes nothing."""
    with (
        opened(exporter.path, "iommufd") as user,
        shown(user) as registers,
        export(user.device, BAR0, [(0, PAGE)]) as buffer,
        EventFd("the wakeup") as wakeup,
    ):
        for _ in range(2):
            enter_low_power_once(user.device, wakeup)
            becomes(exporter.path, "suspended")
            assert map_errno(user, buffer) == errno.ENODEV
            assert wakeup.fired() == 0
            user.device.config().get(config.VENDOR, 2)
            assert wakeup.wait(PROMPT) == 1
            assert touched(registers) == 0
            assert map_errno(user, buffer) == 0, "the BAR is back, its dma-buf is not"
            exit_low_power(user.device)
            assert map_errno(user, buffer) == 0
