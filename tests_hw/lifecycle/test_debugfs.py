"""This file checks that a device's directory in debugfs goes before the device does (P1)."""

from pathlib import Path

import pytest

from vfio_hw.errors import Unsupported
from vfio_hw.fixtures import Target
from vfio_hw.vfio.opened import opened

# Source: Documentation/ABI/testing/debugfs-vfio.
DIRECTORY = Path("/sys/kernel/debug/vfio")
WATCHED, PROMPT = 0.5, 5.0


@pytest.mark.promise("P1")
def test_a_device_that_is_going_away_has_no_debugfs_entry(device: Target):
    """What its files show belongs to the driver, so they go before the wait for the last user."""
    if not DIRECTORY.is_dir():
        raise Unsupported(f"there is no {DIRECTORY}", option="CONFIG_VFIO_DEBUGFS")
    shown = DIRECTORY / device.name
    assert shown.is_dir()
    with opened(device.path, "vfio_type1v2_iommu") as user, device.removal() as removal:
        assert removal.wait(WATCHED) is None
        assert not shown.exists()
        user.device.close()
        removal.must_return(PROMPT)
    assert not shown.exists()
