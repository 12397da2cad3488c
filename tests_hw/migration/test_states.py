"""This file checks the states of migration and the ways between them (P8), and failures (P7).

The ways are those of ``enum vfio_device_mig_state`` in linux/vfio.h: all but two are allowed, and
which of them begins, keeps or ends a session is told there.
"""

import contextlib
import errno
import itertools
import mmap
import os
from collections.abc import Iterator

import pytest

from vfio_hw.devices.kinds import need_features
from vfio_hw.fixtures import Target
from vfio_hw.host.forked import forked
from vfio_hw.uapi import ffi, lib
from vfio_hw.uapi import ioctl_errno as raw
from vfio_hw.vfio.descriptor import errno_of
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.dma import PAGE
from vfio_hw.vfio.feature import GET, PROBE, SET, feature_errno
from vfio_hw.vfio.migration import (
    STATES,
    DataFile,
    data_size,
    migration_flags,
    set_state,
    set_state_errno,
    state,
)
from vfio_hw.vfio.opened import opened

MODES = ["vfio_type1v2_iommu", "iommufd"]
PROMPT = 5.0
NAMES = {number: name for name, number in STATES.items()}
RUNNING, STOP, STOP_COPY = STATES["RUNNING"], STATES["STOP"], STATES["STOP_COPY"]
ERROR = lib.VFIO_DEVICE_STATE_ERROR
SAVING = {STOP_COPY, STATES["PRE_COPY"], STATES["PRE_COPY_P2P"]}
WITH_SESSION = SAVING | {STATES["RESUMING"]}
FORBIDDEN = {(STOP_COPY, new) for new in SAVING - {STOP_COPY}}
# RESUMING is left with a state that is whole, or by a reset: here, where nothing is written, so.
LEAVABLE = set(NAMES) - {STATES["RESUMING"]}


@pytest.fixture(params=MODES)
def device(request, mtty):
    """A device that can be migrated, and is running."""
    with opened(mtty.path, request.param) as user:
        need_features(user.device, "mtty", "MIGRATION")
        yield user.device


@contextlib.contextmanager
def brought_to(device: Device, new: int) -> Iterator[DataFile | None]:
    """The device was reset and brought into a state; the session that it has there is closed."""
    device.reset()
    with set_state(device, new) or contextlib.nullcontext() as session:
        yield session


@pytest.mark.promise("P8")
def test_a_device_says_how_it_can_be_migrated_or_that_it_can_not(mtty, edu):
    with opened(mtty.path, MODES[0]) as user:
        flags = migration_flags(user.device)
        assert flags & lib.VFIO_MIGRATION_STOP_COPY
        for number in (
            lib.VFIO_DEVICE_FEATURE_MIGRATION,
            lib.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
            lib.VFIO_DEVICE_FEATURE_MIG_DATA_SIZE,
        ):
            assert feature_errno(user.device, number | PROBE | GET) == 0
        with_bytes = lib.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE | GET
        assert feature_errno(user.device, with_bytes, bytes(7)) == errno.EINVAL
    with opened(edu.path, MODES[0]) as user:
        assert errno_of(migration_flags)(user.device) == errno.ENOTTY
        assert errno_of(state)(user.device) == errno.ENOTTY
        assert set_state_errno(user.device, STOP) == errno.ENOTTY


@pytest.mark.promise("P8")
def test_every_way_that_the_header_allows_leads_there(device):
    """With a new session where one begins: on entering RESUMING or the states that save."""
    for old, new in itertools.product(LEAVABLE, NAMES):
        way = f"{NAMES[old]} -> {NAMES[new]}"
        with brought_to(device, old) as session:
            assert state(device) == old, way
            assert (session is not None) == (old in WITH_SESSION), way
            if (old, new) in FORBIDDEN:
                assert set_state_errno(device, new) == errno.EINVAL, way
                assert state(device) == old, way
                continue
            with set_state(device, new) or contextlib.nullcontext() as another:
                assert state(device) == new, way
                kept = old == new or {old, new} <= SAVING
                assert (another is not None) == (new in WITH_SESSION and not kept), way


@pytest.mark.promise("P8")
def test_the_size_of_the_data_is_told_in_each_state(device):
    """Some bytes, whatever was read before; asking changes no state and ends no session."""
    for old in NAMES:
        with brought_to(device, old) as session:
            assert data_size(device) > 0, NAMES[old]
            assert state(device) == old
            if old in SAVING:
                assert session.read(), NAMES[old]
                assert data_size(device) > 0, NAMES[old]


@pytest.mark.promise("P8")
def test_no_other_state_is_reached(device):
    """Neither ERROR nor one that does not exist; a refusal changes nothing."""
    wrong = (lib.VFIO_DEVICE_STATE_ERROR, lib.VFIO_DEVICE_STATE_NR, 2**31, 2**32 - 1)
    for old in NAMES:
        with brought_to(device, old):
            for new in wrong:
                assert set_state_errno(device, new) == errno.EINVAL, f"{NAMES[old]} -> {new}"
                assert state(device) == old


@pytest.mark.promise("P8")
def test_a_reset_leads_back_to_running_and_ends_the_session(device):
    for old in NAMES:
        with brought_to(device, old) as session:
            device.reset()
            assert state(device) == RUNNING, NAMES[old]
            if old in SAVING:
                assert session.read_errno() == errno.ENODEV
            elif session:
                assert session.write_errno(b"anything") == errno.ENODEV


@pytest.mark.promise("P8")
def test_a_session_ends_with_the_states_that_it_is_for(device):
    """Read after that it says ENODEV, also when another session has begun."""
    for old in SAVING:
        with brought_to(device, old) as session:
            assert set_state(device, STOP) is None
            assert session.read_errno() == errno.ENODEV
            with set_state(device, STOP_COPY) as another:
                assert session.read_errno() == errno.ENODEV
                assert another.read_all()


@pytest.mark.promise("P3")
def test_a_session_may_be_closed_before_its_state_is_left(device):
    """Then it is over, and the next one is whole."""
    for old in WITH_SESSION:
        for new in (RUNNING, STOP_COPY):
            with brought_to(device, old):
                pass
            if old == STATES["RESUMING"]:
                assert set_state_errno(device, new) == errno.EINVAL
                device.reset()
            else:
                assert set_state_errno(device, new) == 0
            device.reset()
            with set_state(device, STOP_COPY) as session:
                assert session.read_all()


@pytest.mark.promise("P3")
@pytest.mark.parametrize("old", [name for name, number in STATES.items() if number in WITH_SESSION])
def test_a_session_ends_when_its_device_is_closed(mtty, old):
    """It moves nothing for the next user, who begins with a reset; it is closed long after."""
    with contextlib.ExitStack() as sessions:
        for _ in range(2):
            with opened(mtty.path, MODES[0]) as user:
                user.device.reset()
                session = sessions.enter_context(set_state(user.device, STATES[old]))
            with opened(mtty.path, MODES[0]) as user:
                user.device.reset()
                assert state(user.device) == RUNNING
                if STATES[old] in SAVING:
                    assert session.read_errno() == errno.ENODEV
                else:
                    assert session.write_errno(bytes(8)) == errno.ENODEV


@pytest.mark.promise("P3")
@pytest.mark.parametrize("old", [name for name, number in STATES.items() if number in WITH_SESSION])
def test_the_next_user_may_change_the_state_that_the_one_before_left(mtty, old):
    """Whatever state it is, a request to stop is answered. A child asks, since it may be lost.

    It stops, or it is refused and nothing has changed, unless the device has failed over it.
    """

    def life(ready):
        with opened(mtty.path, MODES[0]) as user, set_state(user.device, STATES[old]):
            pass
        with opened(mtty.path, MODES[0]) as user:
            left = state(user.device)
            refused = set_state_errno(user.device, STOP)
            now = state(user.device)
            assert now in ((left, ERROR) if refused else (STOP,)), f"{refused}: {left} -> {now}"
            user.device.reset()
            assert state(user.device) == RUNNING
            ready()

    with forked(life):
        pass


@pytest.mark.promise("P7")
@pytest.mark.parametrize("new", ["STOP_COPY", "PRE_COPY", "RESUMING"])
def test_a_session_that_can_not_be_told_is_none(mtty, new):
    """Its number can not be written to the request: EFAULT, and no descriptor is left."""
    request = ffi.new("struct vfio_device_feature *")
    size = ffi.sizeof("struct vfio_device_feature")
    request.argsz = size + ffi.sizeof("struct vfio_device_feature_mig_state")
    request.flags = SET | lib.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE
    wanted = ffi.new("struct vfio_device_feature_mig_state *", {"device_state": STATES[new]})
    with os.fdopen(os.memfd_create("read only"), "wb") as file:
        file.write(bytes(ffi.buffer(request, size)) + bytes(ffi.buffer(wanted)))
        file.write(bytes(PAGE))
        file.flush()
        with (
            mmap.mmap(file.fileno(), PAGE, prot=mmap.PROT_READ) as page,
            opened(mtty.path, MODES[0]) as user,
            ffi.from_buffer(page) as argument,
        ):
            before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208
            answer = raw(user.device.fileno(), "VFIO_DEVICE_FEATURE", argument)[1]
            assert answer == errno.EFAULT
            assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
            user.device.reset()
            assert state(user.device) == RUNNING
            with set_state(user.device, STATES[new]) as session:
                assert session is not None


@pytest.mark.promise("P3")
def test_a_session_does_not_keep_a_device_from_being_removed(mtty):
    """The device is closed and gone; its session is closed after that."""
    target = Target("mtty", mtty.uuid, mtty.path, mtty)
    with opened(mtty.path, MODES[0]) as user:
        session = set_state(user.device, STOP_COPY)
        user.device.close()
        with target.removal() as removal:
            removal.must_return(PROMPT)
    with session:
        assert session.read_errno() == errno.ENODEV
