"""This file checks that a BAR is reached only while the function listens to memory accesses (P8).

A function that does not answers nothing, which on some machines is fatal: so the kernel lets no
access through, and a mapping that exists faults.
"""

import errno
import signal

import pytest

from tests_hw.pci.hidden import BAR0, COMMAND_MEMORY, set_memory, set_power
from vfio_hw.errors import KernelRefused
from vfio_hw.fixtures import Target
from vfio_hw.host.touch import touched
from vfio_hw.vfio.config import COMMAND
from vfio_hw.vfio.dma import PAGE
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.feature import enter_low_power, enter_low_power_once_errno, exit_low_power
from vfio_hw.vfio.opened import opened

MODES = ["vfio_type1v2_iommu", "iommufd"]


def assert_deaf_and_hearing_again(device: Target, mode: str, switch) -> None:
    """A mapping from before faults while it is off, and shows the registers again after."""
    with opened(device.path, mode) as user:
        bar = user.device.region(BAR0)
        with bar.mmapped(0, PAGE) as window, memoryview(window).cast("I") as registers:
            for _ in range(2):
                assert touched(registers) == 0
                shown = registers[0]
                switch(user.device, False)
                assert touched(registers) == signal.SIGBUS
                with pytest.raises(KernelRefused) as refused:
                    bar.get(0, 4)
                assert refused.value.errno == errno.EIO
                with bar.mmapped(PAGE, PAGE) as late, memoryview(late).cast("I") as later:
                    assert touched(later) == signal.SIGBUS
                switch(user.device, True)
                assert touched(registers) == 0
                assert registers[0] == bar.get(0, 4) == shown


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", MODES)
def test_a_bar_faults_while_memory_is_disabled(pci_device: Target, mode):
    assert_deaf_and_hearing_again(pci_device, mode, set_memory)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", MODES)
def test_a_bar_faults_while_the_function_is_in_d3(e1000e, mode):
    target = Target("e1000e", e1000e.address, e1000e.path, e1000e)
    assert_deaf_and_hearing_again(target, mode, set_power)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", MODES)
def test_a_bar_faults_while_the_device_may_sleep(pci_device: Target, mode):
    """A read through the descriptor wakes the device, but brings no mapping back: the exit does."""
    with opened(pci_device.path, mode) as user, EventFd("the wakeup") as wakeup:
        bar = user.device.region(BAR0)
        shown = bar.get(0, 4)
        with bar.mmapped(0, PAGE) as window, memoryview(window).cast("I") as registers:
            for _ in range(2):
                assert touched(registers) == 0
                enter_low_power(user.device)
                assert touched(registers) == signal.SIGBUS
                assert bar.get(0, 4) == shown
                assert touched(registers) == signal.SIGBUS
                assert enter_low_power_once_errno(user.device, wakeup) == errno.EINVAL
                assert touched(registers) == signal.SIGBUS
                exit_low_power(user.device)
                assert touched(registers) == 0
                assert registers[0] == shown


@pytest.mark.promise("P3")
@pytest.mark.parametrize("mode", MODES)
def test_a_mapping_outlives_the_descriptor_and_faults_no_less(pci_device: Target, mode):
    """It holds the device by itself: the BAR is there until the mapping goes."""
    with opened(pci_device.path, mode) as user:
        bar = user.device.region(BAR0)
        with bar.mmapped(0, PAGE) as window, memoryview(window).cast("I") as registers:
            shown = registers[0]
            set_memory(user.device, False)
            user.device.close()
            assert touched(registers) == signal.SIGBUS
    with opened(pci_device.path, mode) as user:
        assert user.device.config().get(COMMAND, 2) & COMMAND_MEMORY
        assert user.device.region(BAR0).get(0, 4) == shown
