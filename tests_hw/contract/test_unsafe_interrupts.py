"""This file checks who gets a device whose interrupts nobody checks (P8), and what is left (P7).

Without remapping a device can send any interrupt by a write to memory, so VFIO refuses it, unless
allow_unsafe_interrupts says that it is trusted. Source: VFIO_SET_IOMMU in linux/vfio.h, and the
descriptions of the parameters of vfio_iommu_type1 and iommufd (modinfo).
"""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from vfio_hw.errors import KernelRefused
from vfio_hw.host.iommu import interrupts_remapped
from vfio_hw.host.parameter import parameter
from vfio_hw.uapi import lib
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.opened import opened

NAME = "allow_unsafe_interrupts"


@contextlib.contextmanager
def unsafe(value: str, mode: str) -> Iterator[None]:
    """The parameter of the module that decides in this mode has this value inside."""
    with parameter("vfio_iommu_type1" if mode.startswith("vfio_") else "iommufd", NAME, value):
        yield


def answer(device: Path, mode: str) -> int:
    """The errno with which the device can not be opened."""
    try:
        with opened(device, mode):
            return 0
    except KernelRefused as refused:
        return refused.errno or 0


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_a_function_is_had_where_its_interrupts_are_remapped_or_it_is_trusted(edu, iommu_mode):
    """Where they are, /proc/interrupts says. What was refused is had as soon as it is allowed."""
    with opened(edu.path, iommu_mode):
        pass  # a kernel without this mode says so here, where it skips the test
    with unsafe("N", iommu_mode):
        assert answer(edu.path, iommu_mode) == (0 if interrupts_remapped() else errno.EPERM)
    with unsafe("Y", iommu_mode):
        assert answer(edu.path, iommu_mode) == 0


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", ["vfio_type1v2_iommu", "iommufd"])
def test_a_mediated_device_sends_no_interrupts_that_need_to_be_checked(mtty, mode):
    with unsafe("N", mode), opened(mtty.path, mode) as user:
        assert user.device.info_errno() == 0


@pytest.mark.promise("P7")
def test_a_container_that_was_refused_its_iommu_gets_it_when_it_is_allowed(edu):
    with Container() as container, Group(edu.iommu_group) as group:
        group.set_container(container)
        with unsafe("N", "vfio_type1v2_iommu"):
            refused = container.set_iommu_errno(lib.VFIO_TYPE1v2_IOMMU)
        assert refused == (0 if interrupts_remapped() else errno.EPERM)
        if refused:
            assert group.device_errno(edu.address) == errno.EINVAL
            with unsafe("Y", "vfio_type1v2_iommu"):
                container.set_iommu(lib.VFIO_TYPE1v2_IOMMU)
        with group.device(edu.address) as device:
            assert device.info_errno() == 0
