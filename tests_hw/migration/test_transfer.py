"""This file checks that a device's state moves to another device, whole or not at all (P8, P7)."""

import errno
import os

import pytest

from tests_hw.migration.serial import remember, remembered, saved
from vfio_hw.devices.kinds import need_features
from vfio_hw.errors import KernelRefused
from vfio_hw.host.forked import forked
from vfio_hw.host.mdev import created, type_by_id
from vfio_hw.uapi import ffi, ioctl_errno, struct
from vfio_hw.vfio.migration import (
    STATES,
    data_size,
    set_state,
    set_state_errno,
    state,
)
from vfio_hw.vfio.opened import opened

MODE = "vfio_type1v2_iommu"
PROMPT = 5.0
#: Of data that are not the device's: mtty_resume_write().
FOREIGN = (errno.EFAULT, errno.EINVAL)
RUNNING, STOP, STOP_COPY = STATES["RUNNING"], STATES["STOP"], STATES["STOP_COPY"]
RESUMING, PRE_COPY = STATES["RESUMING"], STATES["PRE_COPY"]


@pytest.fixture
def source(mtty):
    """An open device with something to remember."""
    with opened(mtty.path, MODE) as user:
        need_features(user.device, "mtty", "MIGRATION")
        remember(user.device, 0x5A)
        yield user.device


@pytest.fixture
def destination():
    """Another open device of the same type, with something else."""
    with created(type_by_id("mtty-1")) as mdev, opened(mdev.path, MODE) as user:
        need_features(user.device, "mtty", "MIGRATION")
        remember(user.device, 0xA5)
        yield user.device


@pytest.mark.promise("P8")
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_a_device_goes_on_where_the_other_one_was(source, destination, step):
    """In pieces of any size; the size that was told in advance holds all of it."""
    with set_state(source, STOP_COPY) as out:
        expected, data = data_size(source), b""
        while piece := out.read(step):
            assert len(piece) <= step
            data += piece
        assert out.read() == b""
    assert 0 < len(data) <= expected
    with set_state(destination, RESUMING) as back:
        for offset in range(0, len(data), step):
            back.write(data[offset : offset + step])
        assert set_state(destination, RUNNING) is None
    assert (state(destination), remembered(destination)) == (RUNNING, 0x5A)
    set_state(source, RUNNING)
    assert remembered(source) == 0x5A


@pytest.mark.promise("P8")
def test_a_copy_that_begins_while_the_device_runs_has_what_it_did_last(source, destination):
    """One session from PRE_COPY to STOP_COPY; what is left before is told, and grows less."""
    with set_state(source, PRE_COPY) as out:
        initial, _ = out.precopy_info()
        assert initial > 0
        data = out.read(1)
        assert out.precopy_info()[0] == initial - 1
        data += out.read(initial)
        assert out.precopy_info()[0] == 0
        remember(source, 0x77)
        assert set_state(source, STOP_COPY) is None
        assert out.precopy_info_errno() == errno.EINVAL
        data += out.read_all()
        assert out.read() == b""
        assert set_state(source, STOP) is None
        assert out.precopy_info_errno() == errno.EINVAL
    with set_state(destination, RESUMING) as back:
        back.write(data)
        assert set_state(destination, STOP) is None
    assert set_state(destination, RUNNING) is None
    assert remembered(destination) == 0x77


@pytest.mark.promise("P8")
def test_precopy_info_minds_its_argsz_and_the_state(source):
    size = ffi.sizeof("struct vfio_precopy_info")
    with set_state(source, PRE_COPY) as session:
        for argsz, answer in ((0, errno.EINVAL), (size - 1, errno.EINVAL), (size, 0)):
            info = struct("vfio_precopy_info", argsz=argsz)
            request = "VFIO_MIG_GET_PRECOPY_INFO"
            assert ioctl_errno(session.fileno(), request, info)[1] == answer
        assert ioctl_errno(session.fileno(), "VFIO_DEVICE_GET_INFO", info)[1] == errno.ENOTTY


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_data_that_are_not_whole_make_no_state(source, destination):
    """Leaving RESUMING fails at once; after a reset the device resumes with all of them."""
    data = saved(source)
    for part in (0, 1, len(data) // 2, len(data) - 1):
        with set_state(destination, RESUMING) as back:
            back.write(data[:part])
            assert set_state_errno(destination, RUNNING) == errno.EINVAL, part
            assert state(destination) != RUNNING
        destination.reset()
        assert state(destination) == RUNNING
    with set_state(destination, RESUMING) as back:
        back.write(data)
        assert set_state_errno(destination, RUNNING) == 0
    assert remembered(destination) == 0x5A


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_foreign_data_and_too_many_are_refused(source, destination):
    data = saved(source)
    with set_state(destination, RESUMING) as back:
        assert back.write_errno(data + b"more") == errno.ENOMEM
    destination.reset()
    with set_state(destination, RESUMING) as back:
        assert back.write_errno(bytes(reversed(data))) in FOREIGN
    destination.reset()
    with set_state(destination, RESUMING) as back:
        back.write(data)
        assert back.write_errno(b"m") == errno.ENOMEM
        assert set_state_errno(destination, RUNNING) == 0
    assert remembered(destination) == 0x5A


@pytest.mark.promise("P8")
def test_data_of_a_device_of_another_type_are_refused(source):
    """It has two ports, the source has one."""
    data = saved(source)
    with created(type_by_id("mtty-2")) as mdev, opened(mdev.path, MODE) as user:
        with set_state(user.device, RESUMING) as back:
            assert back.write_errno(data) in FOREIGN
        user.device.reset()
        assert state(user.device) == RUNNING


@pytest.mark.promise("P8")
def test_a_session_flows_one_way_and_has_no_positions(source, destination):
    with set_state(source, STOP_COPY) as out, set_state(destination, RESUMING) as back:
        for session, wrong in ((out, out.write_errno), (back, back.read_errno)):
            assert wrong(b"x" if session is out else 1) == errno.EBADF
            with pytest.raises(OSError, match="Illegal seek"):
                os.lseek(session.fileno(), 0, os.SEEK_SET)


@pytest.mark.promise("P3")
@pytest.mark.parametrize("use", ["read", "write", "precopy_info"])
def test_a_session_that_outlives_its_device_is_harmless(mtty, use):
    """The device is closed and removed; then the session is used, by a process that may be lost."""
    new = RESUMING if use == "write" else PRE_COPY
    with opened(mtty.path, MODE) as user:
        session = set_state(user.device, new)
    mtty.remove(PROMPT)

    def life(ready):
        arguments = [b"anything"] if use == "write" else []
        with pytest.raises(KernelRefused):
            getattr(session, use)(*arguments)
        ready()

    with session, forked(life):
        pass
