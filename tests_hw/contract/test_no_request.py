"""This file checks what a descriptor says to a request that is not for it, or that is none (P8).

Source: Documentation/driver-api/ioctl.rst, "Return code": ENOTTY for a number that is not known.
"""

import errno
import fcntl
from pathlib import Path

import pytest

from vfio_hw.devices.edu_dma import engine
from vfio_hw.fixtures import Target
from vfio_hw.uapi import ioctl_errno, lib, struct
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.descriptor import Descriptor
from vfio_hw.vfio.dma import PAGE, mapped
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.opened import IOMMU_MODES, Opened, opened

GROUP_MODES = [mode for mode in IOMMU_MODES if mode != "iommufd"]
NODES = Path("/dev/vfio/devices")
SECRET = bytes(range(1, 65))
# Numbers that no header gives out: the last of VFIO's type, and with a size, which VFIO's have not;
# the same of a type that nobody has; one of a terminal.
LAST, SIZED, ANOTHER = (
    lib.VFIO_DEVICE_RESET | 0xFF,
    lib.VFIO_DEVICE_RESET | 4 << 16 | 2 << 30,
    0x7FFE,
)
TCGETS = 0x5401
NONE = [LAST, SIZED, ANOTHER, TCGETS]


def answer(descriptor: Descriptor, number: int) -> int:
    """The errno of a request that has no name, with an argument that is no address."""
    try:
        fcntl.ioctl(descriptor.fileno(), number, 1)
    except OSError as error:
        return error.errno or 0
    return 0


def assert_refuses_what_is_none(descriptor: Descriptor, refusals: set[int]) -> None:
    for number in NONE:
        assert answer(descriptor, number) in refusals, f"{number:#x} on {descriptor.name}"


@pytest.mark.promise("P8")
def test_a_number_that_is_no_request_is_refused_everywhere(every_kind: Target, iommu_mode):
    """ENOTTY, and the device is none the worse."""
    with opened(every_kind.path, iommu_mode) as user:
        for descriptor in (user.device, user.group, user.container, user.iommufd):
            if descriptor is not None:
                assert_refuses_what_is_none(descriptor, {errno.ENOTTY})
        assert user.device.info_errno() == 0


@pytest.mark.promise("P8")
def test_a_number_that_is_no_request_is_refused_before_there_is_an_iommu_or_a_device(mtty):
    """A container has nobody to ask yet, and a character device is not to answer: EINVAL, too."""
    with Container() as container, Group(mtty.iommu_group) as group:
        assert_refuses_what_is_none(container, {errno.ENOTTY, errno.EINVAL})
        assert_refuses_what_is_none(group, {errno.ENOTTY})
    with Iommufd() as iommufd, Cdev(mtty.path) as cdev:
        assert_refuses_what_is_none(iommufd, {errno.ENOTTY})
        assert_refuses_what_is_none(cdev, {errno.ENOTTY, errno.EINVAL})
        assert cdev.bind_iommufd_errno(iommufd) == 0


def assert_takes_no_request_of_a_character_device(user: Opened, iommufd: Iommufd) -> None:
    """BIND_IOMMUFD is one of every device where there are such nodes, and wrong; ATTACH is none."""
    fd, space = user.device.fileno(), iommufd.ioas_alloc()
    bind = struct("vfio_device_bind_iommufd", iommufd=iommufd.fileno())
    attach = struct("vfio_device_attach_iommufd_pt", pt_id=space.id)
    detach = struct("vfio_device_detach_iommufd_pt")
    wrong = errno.EINVAL if NODES.exists() else errno.ENOTTY
    for _ in range(2):
        assert ioctl_errno(fd, "VFIO_DEVICE_BIND_IOMMUFD", bind) == (-1, wrong)
        assert ioctl_errno(fd, "VFIO_DEVICE_ATTACH_IOMMUFD_PT", attach) == (-1, errno.ENOTTY)
        assert ioctl_errno(fd, "VFIO_DEVICE_DETACH_IOMMUFD_PT", detach) == (-1, errno.ENOTTY)
    # Nothing is attached to it.
    space.destroy()


@pytest.mark.promise("P5")
@pytest.mark.parametrize("mode", GROUP_MODES)
def test_a_device_of_a_group_takes_no_request_of_a_character_device(every_kind: Target, mode):
    """Source: linux/vfio.h, "Only allowed on cdev fds"."""
    with opened(every_kind.path, mode) as user, Iommufd() as iommufd:
        assert_takes_no_request_of_a_character_device(user, iommufd)
        if user.iommufd:
            assert_takes_no_request_of_a_character_device(user, user.iommufd)
        assert user.device.info_errno() == 0


@pytest.mark.promise("P5")
@pytest.mark.parametrize("mode", GROUP_MODES)
def test_a_device_of_a_group_is_not_detached_by_the_request_of_a_character_device(edu, mode):
    """It reaches what its container maps, as before."""
    with opened(edu.path, mode) as user, Iommufd() as other:
        copier = engine(user.device)
        with mapped(user.iommu, 2 * PAGE) as (ours, iova):
            ours.bytes[: len(SECRET)] = SECRET
            for iommufd in (other, user.iommufd):
                if iommufd:
                    assert_takes_no_request_of_a_character_device(user, iommufd)
            copier.copy(iova, iova + PAGE, len(SECRET))
            assert bytes(ours.bytes[PAGE : PAGE + len(SECRET)]) == SECRET
