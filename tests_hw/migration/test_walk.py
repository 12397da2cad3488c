"""This file checks long ways through the states of migration, with data, against a model (P8).

What the other files check one step from a fresh start, a device that has been everywhere must still
do. The ways are drawn by the seed. Source: linux/vfio.h, ``enum vfio_device_mig_state``.
"""

import errno
import random
from dataclasses import dataclass, field

import pytest

from vfio_hw.uapi import lib
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.migration import STATES, DataFile, set_state, set_state_errno, state
from vfio_hw.vfio.opened import opened

STEPS = 150
NAMES = {number: name for name, number in STATES.items()}
RUNNING, STOP_COPY, RESUMING = STATES["RUNNING"], STATES["STOP_COPY"], STATES["RESUMING"]
PRE_COPY = {STATES["PRE_COPY"], STATES["PRE_COPY_P2P"]}
SAVING = PRE_COPY | {STOP_COPY}
# A register of a serial port that only remembers. Source: linux/serial_reg.h, UART_SCR.
SCRATCH = 7


@dataclass
class Walk:
    """A device, and what it should be: its state, what it remembers, its session and its data."""

    device: Device
    draw: random.Random
    state: int = RUNNING
    value: int = 0
    session: DataFile | None = None
    said: bytes = b""
    image: bytes = b""
    remembered: int = 0  # by who goes on from the image
    way: list[str] = field(default_factory=list)

    def step(self) -> None:
        """One change of state, reset or use of the device, and what must come of it."""
        what = self.draw.choice(["go"] * 6 + ["remember", "read", "reset"])
        self.way = [*self.way[-8:], what]
        getattr(self, f"_{what}")()
        assert state(self.device) == self.state, self.way
        assert self._scratch() == self.value, self.way

    def _go(self) -> None:
        new = self.draw.choice(list(NAMES))
        self.way[-1] = NAMES[new]
        old = self.state
        if old == STOP_COPY and new in PRE_COPY:
            assert set_state_errno(self.device, new) == errno.EINVAL, self.way
            return
        if old == RESUMING and new != RESUMING:
            if not self.image:
                return
            self.session.write(self.image)
            self.value = self.remembered
        started = set_state(self.device, new)
        keeps = old == new or (old in SAVING and new in SAVING)
        assert (started is not None) == (new in {*SAVING, RESUMING} and not keeps), self.way
        if not keeps:
            self._end()
            self.session = started
        self.state = new

    def _end(self) -> None:
        """The session that there was is over."""
        if self.session:
            ended = self.session.read_errno if self.state in SAVING else None
            answer = ended() if ended else self.session.write_errno(b"more")
            assert answer == errno.ENODEV, self.way
            self.session.close()
        self.session, self.said = None, b""

    def _remember(self) -> None:
        # A device that is stopped is not to be touched.
        if self.state in (RUNNING, STATES["RUNNING_P2P"]):
            self.value = self.draw.randrange(256)
            self.device.region(lib.VFIO_PCI_BAR0_REGION_INDEX).put(SCRATCH, 1, self.value)

    def _read(self) -> None:
        if self.state in PRE_COPY:
            self.said += self.session.read(self.draw.choice([1, 16, 1 << 20]))
        elif self.state == STOP_COPY:
            self.said += self.session.read_all()
            self.image, self.remembered = self.said, self.value

    def _reset(self) -> None:
        self.device.reset()
        self._end()
        self.state, self.value = RUNNING, self._scratch()

    def _scratch(self) -> int:
        return self.device.region(lib.VFIO_PCI_BAR0_REGION_INDEX).get(SCRATCH, 1)


@pytest.mark.promise("P8")
@pytest.mark.promise("P3")
@pytest.mark.parametrize("mode", ["vfio_type1v2_iommu", "iommufd"])
def test_a_long_way_through_the_states_ends_as_a_short_one_does(mtty, mode, pytestconfig):
    with opened(mtty.path, mode) as user:
        walk = Walk(user.device, random.Random(pytestconfig.option.seed))
        walk.value = walk._scratch()
        try:
            for _ in range(STEPS):
                walk.step()
        finally:
            # A session of RESUMING is not left to the next user.
            user.device.reset()
            if walk.session:
                walk.session.close()
