"""This file checks that a removal waits for the last descriptor, and for nothing else (P1)."""

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vfio_hw.errors import KernelRefused
from vfio_hw.fixtures import Target
from vfio_hw.host.binding import free
from vfio_hw.host.forked import forked
from vfio_hw.host.mdev import Mdev
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.names import cdev_path
from vfio_hw.vfio.opened import opened

# Seconds.  A removal that must wait is watched this long; one that need not is far quicker.
WATCHED = 0.5
PROMPT = 5.0
# A removal that polled would come back at the end of the period of the requests, which is 10 s and
# began less than a second before the close; a debug kernel under load takes its time for the rest.
WAKE_UP = 2.0

MODES = ["vfio_type1v2_iommu", "iommufd"]


def traces(device: Target) -> list[Path]:
    """What shows that the device is there and VFIO has it: links, sysfs entries and nodes."""
    (entry,) = (device.path / "vfio-dev").iterdir()
    found = [Path("/sys/class/vfio-dev", entry.name)]
    # A kernel without character devices gives it no number.
    if (entry / "dev").exists():
        found.append(Path("/dev/vfio/devices", entry.name))
    if isinstance(device.handle, Mdev):
        # Nothing else is in its group, and so the group goes with it.
        return [*found, device.path, Path("/dev/vfio", str(device.iommu_group))]
    return [*found, device.path / "driver"]


@pytest.mark.promise("P1")
@pytest.mark.parametrize("mode", MODES)
def test_removal_returns_at_once_when_the_last_descriptor_is_closed(
    every_kind: Target, mode, record_property
):
    """The time is the wake-up's alone: close() takes long itself when it has to reset the device.

    The removal may well be back before close() is.
    """
    there = traces(every_kind)
    assert [path for path in there if not path.exists()] == []
    with opened(every_kind.path, mode) as user, every_kind.removal() as removal:
        assert removal.wait(WATCHED) is None, "the device was removed while it was open"
        user.device.close()
        closed_at = time.monotonic()
        removal.must_return(PROMPT)
    latency = removal.finished_at - closed_at
    record_property("wake_up_ms", round(latency * 1000, 2))
    assert latency < WAKE_UP
    assert [path for path in there if path.exists()] == []


@pytest.mark.promise("P1")
def test_removal_waits_for_every_descriptor_not_for_the_first(device: Target):
    with (
        opened(device.path, "vfio_type1v2_iommu") as user,
        user.group.device(device.name) as second,
        device.removal() as removal,
    ):
        second.close()
        assert removal.wait(WATCHED) is None, "the first close let the removal go"
        user.device.close()
        removal.must_return(PROMPT)


@pytest.mark.promise("P1")
def test_a_descriptor_kept_by_a_fork_keeps_the_removal_waiting(device: Target):
    """The child of a fork holds what its parent has closed, until it exits."""
    with opened(device.path, "vfio_type1v2_iommu") as user, forked(lambda ready: ready()) as child:
        user.device.close()
        with device.removal() as removal:
            assert removal.wait(WATCHED) is None, "removed while the child had it open"
            os.kill(child, signal.SIGKILL)
            removal.must_return(PROMPT)


@pytest.mark.promise("P1")
def test_a_device_that_is_going_away_can_not_be_got_from_its_group(device: Target):
    with opened(device.path, "vfio_type1v2_iommu") as user, device.removal() as removal:
        assert removal.wait(WATCHED) is None
        assert user.group.device_errno(device.name) == errno.ENODEV
        user.device.close()
        removal.must_return(PROMPT)


@pytest.mark.promise("P5")
def test_a_device_that_is_going_away_has_no_character_device(every_kind: Target):
    """The node and the entry in sysfs go before the wait, so that nobody new comes in."""
    node = cdev_path(every_kind.path)
    shown = Path("/sys/class/vfio-dev", node.name)
    assert node.exists()
    assert shown.exists()
    with opened(every_kind.path, "iommufd") as user, every_kind.removal() as removal:
        assert removal.wait(WATCHED) is None
        assert not node.exists()
        assert not shown.exists()
        user.device.close()
        removal.must_return(PROMPT)


@pytest.mark.promise("P1")
def test_a_refused_open_through_the_group_does_not_hold_the_removal_up(device: Target):
    """Without an IOMMU set the group gives out no device, and must not count one as given."""
    with Container(), Group(device.iommu_group) as group:
        assert group.device_errno(device.name) == errno.EINVAL
    with device.removal() as removal:
        removal.must_return(PROMPT)


@pytest.mark.promise("P1")
def test_a_refused_bind_does_not_hold_the_removal_up(device: Target):
    with Container() as no_iommufd, Cdev(device.path) as cdev:
        assert cdev.bind_iommufd_errno(no_iommufd) == errno.EBADFD
    with device.removal() as removal:
        removal.must_return(PROMPT)


@pytest.mark.promise("P3")
@pytest.mark.parametrize("mode", MODES)
def test_a_killed_owner_does_not_hold_the_removal_up(device: Target, mode):
    with opened(device.path, mode):
        pass  # a kernel without this mode says so here, where it skips the test

    def own(ready: Callable[[], None]) -> None:
        with opened(device.path, mode):
            ready()

    with forked(own) as child, device.removal() as removal:
        assert removal.wait(WATCHED) is None, "removed while the child had it open"
        os.kill(child, signal.SIGKILL)
        removal.must_return(PROMPT)


@pytest.mark.promise("P4")
def test_a_group_kept_past_the_removal_is_harmless(device: Target):
    """Its descriptor stays, its IOMMU is gone: every call says so."""
    siblings = [] if isinstance(device.handle, Mdev) else device.handle.siblings()
    with (
        free(*siblings),  # the group is VFIO's as long as one of it is
        Container() as container,
        Group(device.iommu_group) as group,
    ):
        with device.removal() as removal:
            removal.must_return(PROMPT)
        assert group.set_container_errno(container) == errno.ENODEV
        assert group.device_errno(device.name) == errno.ENODEV
        with pytest.raises(KernelRefused) as refused:
            group.status()
        assert refused.value.errno == errno.ENODEV
