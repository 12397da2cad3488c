"""What an mtty remembers, by which one state of it is told from another."""

from pathlib import Path

from vfio_hw.uapi import lib
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.migration import STATES, set_state, set_state_errno, state

# A register of a serial port that only remembers. Source: linux/serial_reg.h, UART_SCR.
_SCRATCH = 7
_ERROR = lib.VFIO_DEVICE_STATE_ERROR
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
        names = {**STATES, "ERROR": _ERROR}
        assert names[file.read_text().strip()] == number
    return number


def has_failed(device: Device) -> bool:
    """Whether a refused change has left the device in ERROR; if so, no request leads out of it."""
    now = state_shown(device)
    assert now in (STATES["RESUMING"], _ERROR)
    if now == STATES["RESUMING"]:
        return False
    for name, number in [*STATES.items(), ("ERROR", _ERROR)]:
        assert set_state_errno(device, number), f"ERROR -> {name}"
        assert state_shown(device) == _ERROR, f"ERROR -> {name}"
    return True
