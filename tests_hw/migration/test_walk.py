"""This file checks long ways through the states of migration, with data, against a model (P8).

What the other files check one step from a fresh start, a device that has been everywhere must still
do. The ways are drawn by the seed. Source: linux/vfio.h, ``enum vfio_device_mig_state``.
"""

import contextlib
import errno

import hypothesis
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from hypothesis.strategies import integers, sampled_from

from tests_hw.migration.serial import has_failed, remember, remembered
from vfio_hw.host.mdev import created, type_by_id
from vfio_hw.vfio.migration import STATES, DataFile, set_state, set_state_errno, state
from vfio_hw.vfio.opened import opened

RUNNING, STOP_COPY, RESUMING = STATES["RUNNING"], STATES["STOP_COPY"], STATES["RESUMING"]
PRE_COPY = {STATES["PRE_COPY"], STATES["PRE_COPY_P2P"]}
SAVING = PRE_COPY | {STOP_COPY}
WALKS = settings(
    max_examples=8,
    stateful_step_count=40,
    deadline=None,
    database=None,
    # To shrink a way is to go a hundred more: a test that fails would be taken for one that hangs.
    phases=[Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)


class Walk(RuleBasedStateMachine):
    """A device, and what it should be: its state, what it remembers, its session and its data."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        with contextlib.ExitStack() as stack:
            # Of its own: a way that has failed is gone once more, and must begin where it began.
            mdev = stack.enter_context(created(type_by_id("mtty-1")))
            self.device = stack.enter_context(opened(mdev.path, mode)).device
            self._open = stack.pop_all()
        self.state, self.value = RUNNING, remembered(self.device)
        self.session: DataFile | None = None
        self.said = self.image = b""
        self.remembered = 0  # by who goes on from the image

    @initialize(value=integers(0, 255))
    def makes_an_image(self, value: int) -> None:
        """So that there is something to go on from."""
        self.remember(value)
        self.go("STOP_COPY")
        self.read(1 << 20)
        self.go("RUNNING")
        assert self.image

    @invariant()
    def is_what_it_should_be(self) -> None:
        assert state(self.device) == self.state
        assert remembered(self.device) == self.value

    @rule(name=sampled_from(sorted(STATES)))
    def go(self, name: str) -> None:
        """A change of state, or of none."""
        old, new = self.state, STATES[name]
        if old == STOP_COPY and new in PRE_COPY:
            assert set_state_errno(self.device, new) == errno.EINVAL
            return
        if old == RESUMING and new != RESUMING:
            self.session.write(self.image)
            self.value = self.remembered
        started = set_state(self.device, new)
        keeps = old == new or (old in SAVING and new in SAVING)
        assert (started is not None) == (new in {*SAVING, RESUMING} and not keeps)
        if not keeps:
            self._end()
            self.session = started
        self.state = new

    # A device that is stopped is not to be touched.
    @precondition(lambda self: self.state in (RUNNING, STATES["RUNNING_P2P"]))
    @rule(value=integers(0, 255))
    def remember(self, value: int) -> None:
        self.value = value
        remember(self.device, value)

    @precondition(lambda self: self.state in SAVING)
    @rule(size=sampled_from([1, 16, 1 << 20]))
    def read(self, size: int) -> None:
        if self.state in PRE_COPY:
            self.said += self.session.read(size)
        else:
            self.said += self.session.read_all()
            self.image, self.remembered = self.said, self.value

    @precondition(lambda self: self.state == RESUMING)
    @rule(name=sampled_from(sorted(set(STATES) - {"RESUMING"})))
    def fail(self, name: str) -> None:
        """With a part of the image it goes nowhere, or has failed; only a reset leads back then."""
        self.session.write(self.image[: len(self.image) // 2])
        assert set_state_errno(self.device, STATES[name])
        has_failed(self.device)
        self.reset()

    @rule()
    def reset(self) -> None:
        self.device.reset()
        self._end()
        self.state, self.value = RUNNING, remembered(self.device)

    def teardown(self) -> None:
        """A session of RESUMING is not left to the next user."""
        with self._open:
            self.device.reset()
            if self.session:
                self.session.close()

    def _end(self) -> None:
        """The session that there was is over."""
        if self.session:
            ended = self.session.read_errno if self.state in SAVING else None
            answer = ended() if ended else self.session.write_errno(b"more")
            assert answer == errno.ENODEV
            self.session.close()
        self.session, self.said = None, b""


@pytest.mark.promise("P8")
@pytest.mark.promise("P3")
@pytest.mark.parametrize("mode", ["vfio_type1v2_iommu", "iommufd"])
def test_a_long_way_through_the_states_ends_as_a_short_one_does(mtty, mode, pytestconfig):
    walk = hypothesis.seed(pytestconfig.option.seed)(lambda: Walk(mode))
    run_state_machine_as_test(walk, settings=WALKS)
