"""What hides the BARs of a function from its user, what its dma-buf shows then, and its sleep."""

import time
from collections.abc import Callable
from pathlib import Path

from vfio_hw.errors import KernelSplat
from vfio_hw.uapi import lib
from vfio_hw.vfio.config import COMMAND
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.dma import PAGE, first_iova
from vfio_hw.vfio.dmabuf import DmaBuf
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.feature import enter_low_power, enter_low_power_once, exit_low_power
from vfio_hw.vfio.opened import Opened

BAR0 = lib.VFIO_PCI_BAR0_REGION_INDEX
PROMPT = 5.0
# Source: linux/pci_regs.h.
COMMAND_MEMORY = 1 << 1
CAPABILITY_POWER, POWER_CONTROL, POWER_STATE, D0, D3HOT = 0x01, 4, 3, 0, 3


def set_memory(device: Device, on: bool) -> None:
    space = device.config()
    before = space.get(COMMAND, 2) & ~COMMAND_MEMORY
    space.put(COMMAND, 2, before | (COMMAND_MEMORY if on else 0))


def set_power(device: Device, on: bool) -> None:
    space = device.config()
    control = space.capability(CAPABILITY_POWER) + POWER_CONTROL
    before = space.get(control, 2) & ~POWER_STATE
    space.put(control, 2, before | (D0 if on else D3HOT))
    assert space.get(control, 2) & POWER_STATE == (D0 if on else D3HOT)


def _low_power(device: Device, on: bool) -> None:
    if on:
        exit_low_power(device)
    else:
        enter_low_power(device)


def _low_power_once(device: Device, on: bool) -> None:
    if on:
        exit_low_power(device)
    else:
        # The kernel holds the eventfd for as long as it needs it.
        with EventFd("the wakeup") as wakeup:
            enter_low_power_once(device, wakeup)


#: What hides a BAR (False) and shows it again (True), by its name.
SWITCHES: dict[str, Callable[[Device, bool], None]] = {
    "COMMAND": set_memory,
    "LOW_POWER_ENTRY": _low_power,
    "LOW_POWER_ENTRY_WITH_WAKEUP": _low_power_once,
    "D3hot": set_power,
}
#: Those for a function without power management of its own.
FOR_ANY = [name for name in SWITCHES if name != "D3hot"]


def map_errno(user: Opened, buffer: DmaBuf) -> int:
    """What IOMMU_IOAS_MAP_FILE says of the buffer's first page, which is unmapped at once."""
    iova = first_iova(user.iommu, 2 * PAGE) + PAGE
    answer = user.iommu.map_file_errno(iova, buffer, 0, PAGE)
    if not answer:
        assert user.iommu.unmap_dma(iova, PAGE) == PAGE
    return answer


def becomes(path: Path, wanted: str) -> None:
    """The function's runtime status is, or within the deadline becomes, ``wanted``."""
    end = time.monotonic() + PROMPT
    status = path / "power" / "runtime_status"
    while (now := status.read_text().strip()) != wanted:
        if time.monotonic() > end:
            raise KernelSplat(f"{path.name} was {now} and not {wanted} in time", oracle="answer")
        time.sleep(0.002)
