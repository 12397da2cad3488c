"""This file checks what poll(2) says of the file through which a device's data flow (P8).

Source: linux/vfio.h, VFIO_MIG_GET_PRECOPY_INFO, which has both ends of the stream.
"""

import select

import pytest

from vfio_hw.devices.kinds import need_features
from vfio_hw.vfio.migration import STATES, DataFile, set_state, state
from vfio_hw.vfio.opened import opened

MODES = ["vfio_type1v2_iommu", "iommufd"]
PRE_COPY = ["PRE_COPY", "PRE_COPY_P2P"]


def polled(session: DataFile) -> int:
    """What can be done with it at once: POLLIN, POLLOUT."""
    poll = select.poll()
    poll.register(session.fileno(), select.POLLIN | select.POLLOUT)
    return dict(poll.poll(0)).get(session.fileno(), 0)


@pytest.fixture(params=MODES)
def device(request, mtty):
    """A device that can be migrated, and is running."""
    with opened(mtty.path, request.param) as user:
        need_features(user.device, "mtty", "MIGRATION")
        yield user.device
        user.device.reset()


@pytest.mark.promise("P8")
@pytest.mark.parametrize("before", [None, *PRE_COPY])
def test_in_stop_copy_a_session_is_readable_always(device, before):
    """While there are data, at their end, and after that as often as it is asked."""
    first = set_state(device, STATES[before]) if before else None
    session = first or set_state(device, STATES["STOP_COPY"])
    with session:
        if first:
            assert set_state(device, STATES["STOP_COPY"]) is None
        assert polled(session) & select.POLLIN
        while session.read(7):
            assert polled(session) & select.POLLIN
        for _ in range(2):
            assert session.read() == b""
            assert polled(session) & select.POLLIN


@pytest.mark.promise("P8")
@pytest.mark.parametrize("new", PRE_COPY)
def test_what_can_be_read_in_pre_copy_poll_tells(device, new):
    with set_state(device, STATES[new]) as session:
        while any(session.precopy_info()):
            assert polled(session) & select.POLLIN
            assert session.read(7)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("new", PRE_COPY)
def test_at_the_end_for_now_poll_waits(device, new):
    """For more, which may never come; in STOP_COPY it does."""
    with set_state(device, STATES[new]) as session:
        while any(session.precopy_info()):
            assert session.read()
        ready = polled(session) & select.POLLIN
        assert session.precopy_info() == (0, 0)
        assert not ready, "it is readable where nothing can be read"
        assert set_state(device, STATES["STOP_COPY"]) is None
        assert polled(session) & select.POLLIN


@pytest.mark.promise("P8")
def test_a_session_that_resumes_takes_data_without_waiting(device):
    """Source: poll(2); linux/vfio.h says nothing of poll in RESUMING."""
    with set_state(device, STATES["STOP_COPY"]) as out:
        data = out.read_all()
    assert set_state(device, STATES["STOP"]) is None
    with set_state(device, STATES["RESUMING"]) as back:
        for offset in range(0, len(data), 7):
            assert polled(back) & select.POLLOUT
            back.write(data[offset : offset + 7])
        assert set_state(device, STATES["RUNNING"]) is None
    assert state(device) == STATES["RUNNING"]
