"""This file checks what a change of state that fails leaves, and the way out of ERROR (P8, P7, P3).

The device is asked to go on from data that are not whole. It may be where it was, or have failed:
which, is the driver's choice. mtty stays where it was; the harness's own tests make one that fails.
Source: linux/vfio.h, ``enum vfio_device_mig_state``, "RESUMING -> STOP" and "any -> ERROR".
"""

import errno

import pytest

from tests_hw.migration.serial import has_failed, remember, remembered, saved, state_shown
from vfio_hw.devices.kinds import need_features
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.migration import STATES, set_state, set_state_errno
from vfio_hw.vfio.opened import opened

MODES = ["vfio_type1v2_iommu", "iommufd"]
RUNNING, RESUMING = STATES["RUNNING"], STATES["RESUMING"]
ELSEWHERE = [name for name, number in STATES.items() if number != RESUMING]


@pytest.fixture(params=MODES)
def device(request, mtty):
    """A device that can be migrated, and remembers something."""
    with opened(mtty.path, request.param) as user:
        need_features(user.device, "mtty", "MIGRATION")
        user.device.reset()
        remember(user.device, 0x5A)
        yield user.device


def goes_on_from(device: Device, data: bytes) -> None:
    with set_state(device, RESUMING) as session:
        session.write(data)
        assert set_state(device, RUNNING) is None


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@pytest.mark.parametrize("new", ELSEWHERE)
def test_what_is_not_whole_is_refused_and_a_reset_leads_back(device, new):
    """Out of ERROR nothing else does. The session is over then, and another may begin."""
    image = saved(device)
    for part in (b"", image[: len(image) // 2]):
        with set_state(device, RESUMING) as session:
            session.write(part)
            assert set_state_errno(device, STATES[new])
            has_failed(device)
            device.reset()
            assert state_shown(device) == RUNNING
            assert session.write_errno(image) == errno.ENODEV
        remember(device, 0xA5)
        goes_on_from(device, image)
        assert (state_shown(device), remembered(device)) == (RUNNING, 0x5A)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("new", ELSEWHERE)
def test_what_is_not_whole_may_be_completed_unless_the_device_has_failed(device, new):
    """RESUMING was not left, and it is leaving it that ends the session."""
    image = saved(device)
    remember(device, 0xA5)
    with set_state(device, RESUMING) as session:
        session.write(image[: len(image) // 2])
        assert set_state_errno(device, STATES[new])
        if not has_failed(device):
            session.write(image[len(image) // 2 :])
            with set_state(device, STATES[new]) or session:
                assert state_shown(device) == STATES[new]
                assert set_state(device, RUNNING) is None
            assert remembered(device) == 0x5A


@pytest.mark.promise("P8")
@pytest.mark.promise("P3")
@pytest.mark.parametrize("mode", MODES)
def test_a_reset_by_the_next_user_mends_a_device_that_was_left_after_a_refusal(mtty, mode):
    """Before that it is as it was left, or it runs; after, it goes on from its image."""
    with opened(mtty.path, mode) as user:
        need_features(user.device, "mtty", "MIGRATION")
        user.device.reset()
        remember(user.device, 0x5A)
        image = saved(user.device)
        remember(user.device, 0xA5)
        with set_state(user.device, RESUMING):
            assert set_state_errno(user.device, RUNNING)
            left = state_shown(user.device)
    with opened(mtty.path, mode) as user:
        assert state_shown(user.device) in (left, RUNNING)
        user.device.reset()
        assert state_shown(user.device) == RUNNING
        goes_on_from(user.device, image)
        assert remembered(user.device) == 0x5A
