"""This file checks the token that users of a physical function and of its virtual ones share (P8).

Who has not the token of the physical function opens neither the virtual ones, nor the physical one
while a virtual one is open. Source: linux/vfio.h, VFIO_DEVICE_FEATURE_PCI_VF_TOKEN and
VFIO_DEVICE_BIND_FLAG_TOKEN; cc20d7999000 "vfio/pci: Introduce VF token". Promises: P8, and P7:
who was refused has changed nothing.
"""

import contextlib
import errno
from uuid import UUID

import pytest

from tests_hw.contract.test_feature_sizes import LONGER, assert_refuses_less, effect
from tests_hw.sriov.conftest import answer, through_cdev
from vfio_hw.fixtures.features import TOKEN, stage
from vfio_hw.fixtures.machine import loaded_driver
from vfio_hw.host import sriov
from vfio_hw.host.binding import bound_to
from vfio_hw.uapi import ioctl_errno, lib, struct
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.dma import memory_file
from vfio_hw.vfio.feature import GET, PROBE, SET, feature_errno, set_vf_token, set_vf_token_errno
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.iommufd import Iommufd

pytestmark = pytest.mark.machine("sr-iov")

RIGHT, WRONG = UUID(int=0x1234 << 64 | 1), UUID(int=0x1234 << 64 | 2)
NUMBER = lib.VFIO_DEVICE_FEATURE_PCI_VF_TOKEN


@pytest.mark.promise("P8")
def test_a_virtual_function_opens_with_the_token_of_its_physical_one(physical, one, opening):
    """The token that was given last, and no other, while the physical function is open or not."""
    with opening(physical) as device:
        set_vf_token(device, RIGHT)
        assert answer(opening, one) == errno.EACCES
        assert answer(opening, one, WRONG) == errno.EACCES
        assert answer(opening, one, RIGHT) == 0
        set_vf_token(device, WRONG)
        assert answer(opening, one, RIGHT) == errno.EACCES
        assert answer(opening, one, WRONG) == 0
    assert answer(opening, one) == errno.EACCES
    assert answer(opening, one, RIGHT) == errno.EACCES
    assert answer(opening, one, WRONG) == 0


@pytest.mark.promise("P8")
def test_nobody_knows_the_token_that_nobody_gave(physical, one, opening):
    """It is a random one, not none and not zero."""
    for guess in (None, UUID(int=0), UUID(int=2**128 - 1)):
        assert answer(opening, one, guess) == errno.EACCES


@pytest.mark.promise("P8")
def test_who_opens_the_physical_function_with_a_token_gives_it(physical, one, opening):
    with opening(physical, RIGHT):
        assert answer(opening, one, RIGHT) == 0
    with opening(physical, WRONG):
        assert answer(opening, one, RIGHT) == errno.EACCES
        assert answer(opening, one, WRONG) == 0


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@pytest.mark.promise("P9")
def test_the_physical_function_needs_it_while_a_virtual_one_is_open(physical, one, opening):
    """And not any more when that is closed; who is refused changes neither token nor count."""
    with opening(physical, RIGHT):
        pass
    for _ in range(2):
        with opening(one, RIGHT):
            for _ in range(3):
                assert answer(opening, physical) == errno.EACCES
                assert answer(opening, physical, WRONG) == errno.EACCES
            assert answer(opening, physical, RIGHT) == 0
        assert answer(opening, physical) == 0
    assert answer(opening, one, RIGHT) == 0
    assert answer(opening, physical, WRONG) == 0
    assert answer(opening, one, RIGHT) == errno.EACCES


@pytest.mark.promise("P8")
def test_every_virtual_function_counts(physical, opening):
    """The physical one is free when the last of them is closed, opened in whatever way."""
    with opening(physical, RIGHT):
        pass
    with sriov.enabled(physical, 2) as [first, second]:
        with opening(first, RIGHT):
            with opening(second, RIGHT):
                assert answer(opening, physical) == errno.EACCES
            assert answer(opening, physical) == errno.EACCES
        assert answer(opening, physical) == 0


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_the_token_is_set_and_not_got(physical, one, opening):
    """EINVAL for what is too short, or asked for; a virtual function has none to set."""
    with opening(physical, RIGHT) as device:
        assert feature_errno(device, PROBE | NUMBER) == 0
        assert feature_errno(device, PROBE | SET | NUMBER) == 0
        assert feature_errno(device, PROBE | GET | NUMBER) == errno.EINVAL
        assert feature_errno(device, GET | NUMBER, bytes(16)) == errno.EINVAL
        assert feature_errno(device, SET | NUMBER, WRONG.bytes[:15]) == errno.EINVAL
        with opening(one, RIGHT) as other:
            assert set_vf_token_errno(other, WRONG) == errno.ENOTTY
            # Whoever holds the physical function may give its virtual ones' next users another.
            assert set_vf_token_errno(device, WRONG) == 0
        assert answer(opening, one, RIGHT) == errno.EACCES


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_a_token_that_can_not_be_read_is_none(physical, one):
    with Iommufd() as iommufd, Cdev(physical.path) as cdev:
        bind = struct(
            "vfio_device_bind_iommufd",
            iommufd=iommufd.fileno(),
            flags=lib.VFIO_DEVICE_BIND_FLAG_TOKEN,
            token_uuid_ptr=8,
        )
        assert ioctl_errno(cdev.fileno(), "VFIO_DEVICE_BIND_IOMMUFD", bind)[1] == errno.EFAULT
        assert cdev.bind_iommufd_errno(iommufd) == 0


@pytest.mark.promise("P7")
@pytest.mark.parametrize("why", ["no container", "no iommufd", "bound already"])
def test_a_refused_open_of_the_physical_function_gives_no_token(physical, one, opening, why):
    """Whatever it is refused for."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(through_cdev(physical, RIGHT))
        if why != "bound already":
            first.close()
        if why == "no container":
            with Group(physical.iommu_group) as group:
                assert group.device_errno(physical.address, WRONG) == errno.EINVAL
        else:
            with Cdev(physical.path) as cdev, Iommufd() as iommufd, memory_file() as (file, _):
                if why == "no iommufd":
                    assert cdev.bind_iommufd_errno(file, WRONG) == errno.EBADFD
                else:
                    assert cdev.bind_iommufd_errno(iommufd, WRONG) == errno.EINVAL
        assert answer(opening, one, RIGHT) == 0, "the refused one's token is the token now"


@pytest.mark.promise("P8")
def test_no_token_is_needed_when_the_physical_function_is_not_vfios(free_physical, native, opening):
    """Its own driver is trusted, as the kernel is; a token that opens nothing is refused."""
    with (
        loaded_driver(native),
        bound_to(free_physical, native),
        sriov.drivers_autoprobe(free_physical, on=False),
        sriov.enabled(free_physical) as [function],
        bound_to(function, "vfio-pci"),
    ):
        assert answer(opening, function, RIGHT) == errno.EINVAL
        assert answer(opening, function) == 0


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_a_token_minds_its_argsz(physical, one, opening):
    """Of 16 bytes and not one less; what is behind them is no part of it."""
    with opening(physical, RIGHT) as device, stage(device, physical.path) as scene:
        assert_refuses_less(scene, "PCI_VF_TOKEN SET")
        assert answer(opening, one, TOKEN) == errno.EACCES
        assert answer(opening, one, RIGHT) == 0
        for more, tail in LONGER:
            effect(scene, "PCI_VF_TOKEN SET", more, tail)
            assert answer(opening, one, RIGHT) == errno.EACCES
            assert answer(opening, one, TOKEN) == 0
            set_vf_token(device, RIGHT)
