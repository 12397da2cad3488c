"""An NVM Express controller with nothing but its admin queue, driven from user space.

Source: NVM Express base specification 1.4, 3.1 (registers), 4 (queues) and 5.15 (Identify).
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from vfio_hw.errors import KernelSplat
from vfio_hw.uapi import lib
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.dma import Memory
from vfio_hw.vfio.region import Region

#: Offsets in BAR 0.
_CAP, _CC, _CSTS, _AQA, _ASQ, _ACQ, _DOORBELLS = 0x00, 0x14, 0x1C, 0x24, 0x28, 0x30, 0x1000
_ENABLE, _READY, _FATAL = 1 << 0, 1 << 0, 1 << 1
# Sizes of entries, as powers of two: 64 bytes in a submission queue, 16 in a completion queue.
_ENTRY_SIZES = 6 << 16 | 4 << 20
_SUBMISSION, _COMPLETION = 64, 16
_ENTRIES = 8
_IDENTIFY, _CONTROLLER = 0x06, 0x01
_PHASE = 1 << 0
# Seconds. A command takes a tenth.
_DEADLINE, _POLL = 5.0, 0.005

#: Status of a completion. Source: 4.6.1 there.
DONE = 0x0
#: There is none: the controller says that it has failed (CSTS.CFS), and needs a restart.
FAILED = -1


@dataclass
class Admin:
    """A controller that is enabled; its two queues are pages of ours, which it reaches at iovas."""

    registers: Region
    submissions: Memory
    completions: Memory
    _next: int = field(default=0)

    def identify(self, iova: int) -> int:
        """Let it write 4096 bytes of what it is to an iova; returns the status, or FAILED."""
        number, slot = self._next, self._next % _ENTRIES
        self._next += 1
        command = bytearray(_SUBMISSION)
        command[0] = _IDENTIFY
        command[2:4] = (number & 0xFFFF).to_bytes(2, "little")
        command[24:32] = iova.to_bytes(8, "little")
        command[40:44] = _CONTROLLER.to_bytes(4, "little")
        self.submissions.bytes[slot * _SUBMISSION : (slot + 1) * _SUBMISSION] = bytes(command)
        stride = 4 << (self.registers.get(_CAP + 4, 4) & 0xF)
        self.registers.put(_DOORBELLS, 4, self._next % _ENTRIES)
        # With each round of the queue the phase of new entries turns.
        phase = 1 - number // _ENTRIES % 2
        entry = self.completions.bytes[slot * _COMPLETION : (slot + 1) * _COMPLETION]

        def status() -> int:
            return int.from_bytes(entry[14:16], "little")

        def over() -> bool:
            return status() & _PHASE == phase or bool(self.registers.get(_CSTS, 4) & _FATAL)

        _until(over, f"{self.registers}: a command is not done")
        if status() & _PHASE != phase:
            return FAILED
        self.registers.put(_DOORBELLS + stride, 4, self._next % _ENTRIES)
        assert int.from_bytes(entry[12:14], "little") == number & 0xFFFF
        return status() >> 1 & 0x7FF

    def restart(self) -> None:
        """Disable and enable it: it has not failed then, and its queues are empty."""
        _switch(self.registers, on=False)
        self.completions.bytes[:] = bytes(len(self.completions.bytes))
        self._next = 0
        _switch(self.registers, on=True)


@contextlib.contextmanager
def enabled(
    device: Device, submissions: tuple[Memory, int], completions: tuple[Memory, int]
) -> Iterator[Admin]:
    """The controller is enabled inside, as master of the bus, and disabled after.

    :param submissions: a page for the queue that it reads, and its iova.
    :param completions: the same for the queue that it writes.
    :raises KernelSplat: it did not come up, or not down.
    """
    device.config().enable_master()
    registers = device.region(lib.VFIO_PCI_BAR0_REGION_INDEX)
    _switch(registers, on=False)
    registers.put(_AQA, 4, (_ENTRIES - 1) << 16 | (_ENTRIES - 1))
    for register, (_, iova) in ((_ASQ, submissions), (_ACQ, completions)):
        registers.put(register, 4, iova & 0xFFFFFFFF)
        registers.put(register + 4, 4, iova >> 32)
    _switch(registers, on=True)
    try:
        yield Admin(registers, submissions[0], completions[0])
    finally:
        if not device.closed:
            _switch(registers, on=False)


def _switch(registers: Region, *, on: bool) -> None:
    registers.put(_CC, 4, _ENTRY_SIZES | (_ENABLE if on else 0))
    what = f"{registers}: the controller is not {'ready' if on else 'off'}"
    # It says itself how long it may take, in halves of a second: CAP.TO.
    patience = (registers.get(_CAP, 4) >> 24) / 2
    _until(lambda: bool(registers.get(_CSTS, 4) & _READY) == on, what, max(patience, _DEADLINE))


def _until(holds: Callable[[], bool], what: str, deadline: float = _DEADLINE) -> None:
    end = time.monotonic() + deadline
    while not holds():
        if time.monotonic() > end:
            raise KernelSplat(
                f"{what} after {deadline:g} s: see whether it may use the bus", oracle="answer"
            )
        time.sleep(_POLL)
