"""This file checks what is told of data in PRE_COPY, and flags that are asked for first (P8, P3).

Source: linux/vfio.h, VFIO_MIG_GET_PRECOPY_INFO and VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2.
"""

import errno

import pytest

from vfio_hw.devices.kinds import need_features
from vfio_hw.uapi import ioctl, lib, struct
from vfio_hw.vfio.feature import SET, feature
from vfio_hw.vfio.migration import STATES, DataFile, set_state
from vfio_hw.vfio.opened import opened

MODES = ["vfio_type1v2_iommu", "iommufd"]
NUMBER = lib.VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2
PRE_COPY = [STATES["PRE_COPY"], STATES["PRE_COPY_P2P"]]
GARBAGE = 0xA5A5A5A5


def flags_of(session: DataFile, given: int) -> int:
    """The flags of the answer to a question that came with these."""
    info = struct("vfio_precopy_info", flags=given)
    ioctl(session.fileno(), "VFIO_MIG_GET_PRECOPY_INFO", info, on=session.name)
    return int(info.flags)


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


@pytest.mark.promise("P8")
@pytest.mark.promise("P3")
@pytest.mark.parametrize("new", PRE_COPY, ids=["PRE_COPY", "PRE_COPY_P2P"])
def test_flags_are_an_answer_for_who_has_asked_for_them(mtty, mode, new):
    """Whatever they were before; the next user of the device has to ask anew."""
    with opened(mtty.path, mode) as user:
        need_features(user.device, "mtty", "MIG_PRECOPY_INFOv2")
        with set_state(user.device, new) as session:
            unasked = flags_of(session, GARBAGE)
        user.device.reset()
        feature(user.device, NUMBER | SET)
        with set_state(user.device, new) as session:
            for given in (0, lib.VFIO_PRECOPY_INFO_REINIT, GARBAGE):
                # The device has said nothing yet, so nothing begins anew.
                assert flags_of(session, given) == 0, f"{given:#x}"
        user.device.reset()
    with opened(mtty.path, mode) as user, set_state(user.device, new) as session:
        assert flags_of(session, GARBAGE) == unasked, "the user before has asked for them"
        user.device.reset()


@pytest.mark.promise("P8")
@pytest.mark.parametrize("new", PRE_COPY, ids=["PRE_COPY", "PRE_COPY_P2P"])
def test_data_may_come_to_an_end_for_now(mtty, mode, new):
    """ENOMSG when both numbers are zero; the end of all is that of STOP_COPY, which is no error."""
    with opened(mtty.path, mode) as user, set_state(user.device, new) as session:
        while any(session.precopy_info()):
            assert session.read()
        answer = session.read_errno()
        assert answer, "it ends with no error"
        assert answer == errno.ENOMSG
        assert session.precopy_info() == (0, 0)
        assert set_state(user.device, STATES["STOP_COPY"]) is None
        assert session.read_all()
        assert session.read() == b""
        user.device.reset()
