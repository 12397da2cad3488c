"""What an mtty remembers, by which one state of it is told from another."""

from pathlib import Path

from vfio_hw.uapi import lib
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.migration import STATES, set_state, state

# A register of a serial port that only remembers. Source: linux/serial_reg.h, UART_SCR.
_SCRATCH = 7
_DEBUGFS = Path("/sys/kernel/debug/vfio")


def remember(device: Device, value: int) -> None:
    device.region(lib.VFIO_PCI_BAR0_REGION_INDEX).put(_SCRATCH, 1, value)


def remembered(device: Device) -> int:
    return device.region(lib.VFIO_PCI_BAR0_REGION_INDEX).get(_SCRATCH, 1)


def saved(device: Device) -> bytes:
    """The device's data, with which it goes on running."""
    with set_state(device, STATES["STOP_COPY"]) as session:
        data = session.read_all()
        assert set_state(device, STATES["RUNNING"]) is None
    return data


def state_shown(device: Device) -> int:
    """The device's state, which debugfs shows as well where it shows any.

    Source: Documentation/ABI/testing/debugfs-vfio, migration/state.
    """
    number = state(device)
    file = _DEBUGFS / device.name / "migration/state"
    if file.exists():
        names = {**STATES, "ERROR": lib.VFIO_DEVICE_STATE_ERROR}
        assert names[file.read_text().strip()] == number
    return number
