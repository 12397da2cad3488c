"""This file checks that a device sleeps when its owner lets it, and wakes as it should (P8, P9).

Whether it sleeps is told by sysfs, how many keep it awake by power/runtime_usage.
"""

import contextlib
import errno
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests_hw.pci.hidden import BAR0, PROMPT, becomes
from vfio_hw.fixtures import Target
from vfio_hw.host import sysfs
from vfio_hw.host.touch import touched
from vfio_hw.uapi import lib
from vfio_hw.vfio import config
from vfio_hw.vfio.dma import PAGE
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.feature import (
    GET,
    PROBE,
    SET,
    enter_low_power,
    enter_low_power_errno,
    enter_low_power_once,
    enter_low_power_once_errno,
    exit_low_power,
    exit_low_power_errno,
    feature_errno,
)
from vfio_hw.vfio.opened import opened

MODES = ["vfio_type1v2_iommu", "iommufd"]
# Seconds in which a wakeup that is none would have been told.
WATCHED = 0.3


@pytest.fixture(params=MODES)
def user(request, pci_device: Target):
    with opened(pci_device.path, request.param) as user:
        yield user


def usage(path: Path) -> int:
    return int((path / "power" / "runtime_usage").read_text())


@contextlib.contextmanager
def kept_awake(path: Path) -> Iterator[None]:
    """The function never sleeps. Source: Documentation/ABI/testing/sysfs-devices-power, control."""
    control = path / "power" / "control"
    before = control.read_text().strip()
    sysfs.write(control, "on")
    try:
        yield
    finally:
        sysfs.write(control, before)


@pytest.mark.promise("P8")
def test_a_device_sleeps_until_it_is_accessed_and_sleeps_again(pci_device: Target, user):
    """Each of several accesses wakes it; leaving low power keeps it awake."""
    device, awake = user.device, usage(pci_device.path)
    enter_low_power(device)
    becomes(pci_device.path, "suspended")
    assert usage(pci_device.path) == awake - 1
    for _ in range(2):
        vendor = device.config().get(config.VENDOR, 2)
        assert vendor == int((pci_device.path / "vendor").read_text(), 16)
        becomes(pci_device.path, "suspended")
    for _ in range(2):
        exit_low_power(device)
        becomes(pci_device.path, "active")
        assert usage(pci_device.path) == awake


@pytest.mark.promise("P8")
def test_a_wakeup_is_told_and_lasts(pci_device: Target, user):
    """The eventfd is signalled once and forgotten; the device is awake as if it never slept."""
    device, awake = user.device, usage(pci_device.path)
    with EventFd("the wakeup") as wakeup:
        for _ in range(2):
            space = device.config()
            enter_low_power_once(device, wakeup)
            becomes(pci_device.path, "suspended")
            assert wakeup.fired() == 0
            space.get(config.VENDOR, 2)
            assert wakeup.wait(PROMPT) == 1
            assert (pci_device.path / "power" / "runtime_status").read_text().strip() == "active"
            assert usage(pci_device.path) == awake
            exit_low_power(device)
            assert usage(pci_device.path) == awake
            assert wakeup.fired() == 0


@pytest.mark.promise("P8")
@pytest.mark.parametrize("access", ["BAR", "config space", "LOW_POWER_EXIT"])
def test_a_mapping_wakes_no_device_and_is_back_when_something_else_has(
    pci_device: Target, user, access
):
    """It faults until then; after the wakeup was told, LOW_POWER_EXIT changes nothing.

    The exit itself may tell of a wakeup, an access has to.
    """
    device, bar = user.device, user.device.region(BAR0)
    wakes = {
        "BAR": lambda: bar.get(0, 4),
        "config space": lambda: device.config().get(config.VENDOR, 2),
        "LOW_POWER_EXIT": lambda: exit_low_power(device),
    }
    shown = bar.get(0, 4)
    with (
        EventFd("the wakeup") as wakeup,
        bar.mmapped(0, PAGE) as window,
        memoryview(window).cast("I") as registers,
    ):
        for _ in range(2):
            assert touched(registers) == 0
            enter_low_power_once(device, wakeup)
            becomes(pci_device.path, "suspended")
            for _ in range(2):
                assert touched(registers) == signal.SIGBUS
            assert wakeup.silent(WATCHED)
            becomes(pci_device.path, "suspended")
            wakes[access]()
            if access == "LOW_POWER_EXIT":
                assert wakeup.fired() in (0, 1)
            else:
                assert wakeup.wait(PROMPT) == 1
            for _ in range(2):
                assert touched(registers) == 0
                assert registers[0] == shown
                exit_low_power(device)
            assert wakeup.fired() == 0


@pytest.mark.promise("P8")
def test_of_a_device_that_did_not_sleep_no_wakeup_is_told(pci_device: Target, user):
    """No access ends low power then; the exit does, and a mapping faults until it."""
    device, bar = user.device, user.device.region(BAR0)
    with (
        kept_awake(pci_device.path),
        EventFd("the wakeup") as wakeup,
        bar.mmapped(0, PAGE) as window,
        memoryview(window).cast("I") as registers,
    ):
        for _ in range(2):
            enter_low_power_once(device, wakeup)
            becomes(pci_device.path, "active")
            bar.get(0, 4)
            device.config().get(config.VENDOR, 2)
            assert touched(registers) == signal.SIGBUS
            exit_low_power(device)
            assert touched(registers) == 0
        assert wakeup.silent(WATCHED)


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_low_power_is_entered_once_and_a_refusal_leaves_the_device_as_it_was(
    pci_device: Target, user
):
    device, awake = user.device, usage(pci_device.path)
    with EventFd("the wakeup") as wakeup:
        with EventFd() as closed:
            number = closed.fileno()
        for _ in range(2):
            assert enter_low_power_once_errno(device, -1) == errno.EINVAL
            assert enter_low_power_once_errno(device, number) == errno.EBADF
            no_eventfd = user.container or user.iommufd
            assert enter_low_power_once_errno(device, no_eventfd) == errno.EINVAL
            assert usage(pci_device.path) == awake
            assert enter_low_power_errno(device) == 0
            assert enter_low_power_errno(device) == errno.EINVAL
            assert enter_low_power_once_errno(device, wakeup) == errno.EINVAL
            assert usage(pci_device.path) == awake - 1
            assert exit_low_power_errno(device) == 0
        assert wakeup.fired() == 0
        assert usage(pci_device.path) == awake


@pytest.mark.promise("P8")
def test_low_power_features_are_set_and_not_got(user):
    for number in (
        lib.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY,
        lib.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP,
        lib.VFIO_DEVICE_FEATURE_LOW_POWER_EXIT,
    ):
        assert feature_errno(user.device, number | PROBE | SET) == 0
        for flags in (GET, GET | SET, PROBE | GET):
            assert feature_errno(user.device, number | flags, bytes(8)) == errno.EINVAL
    number = lib.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP
    assert feature_errno(user.device, number | SET, bytes(7)) == errno.EINVAL


@pytest.mark.promise("P3")
@pytest.mark.parametrize("mode", MODES)
def test_a_device_closed_asleep_opens_awake(pci_device: Target, mode):
    """With a wakeup or without; the leak oracle counts who keeps the function awake."""
    counts = []
    for wakes in (True, False):
        with EventFd("the wakeup") as wakeup, opened(pci_device.path, mode) as user:
            counts.append(usage(pci_device.path))
            if wakes:
                enter_low_power_once(user.device, wakeup)
            else:
                enter_low_power(user.device)
            becomes(pci_device.path, "suspended")
    with opened(pci_device.path, mode) as user:
        assert [usage(pci_device.path)] * 2 == counts
        assert enter_low_power_errno(user.device) == 0
        assert exit_low_power_errno(user.device) == 0
