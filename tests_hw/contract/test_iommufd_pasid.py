"""This file checks that nothing has PASIDs where the IOMMU says that there are none (P8, P7).

Source: linux/iommufd.h, IOMMU_HWPT_ALLOC_PASID, and out_max_pasid_log2 of IOMMU_GET_HW_INFO.
"""

import errno

import pytest

from vfio_hw.errors import Unsupported
from vfio_hw.fixtures.iommufd import readable_only
from vfio_hw.uapi import ioctl_errno, lib, struct
from vfio_hw.vfio.hwpt import Hwpt, hw_info, hwpt_alloc, hwpt_alloc_errno

PASID = lib.IOMMU_HWPT_ALLOC_PASID
PASIDS = (1, 5, 2**20 - 1)


@pytest.fixture
def without(bound):
    """A device for which the IOMMU says that there are no PASIDs.

    :raises Unsupported: there are.
    """
    if hw_info(bound.iommufd, bound.id).pasid_width:
        raise Unsupported(f"{bound.path.name} has PASIDs")
    return bound


def made(bound) -> Hwpt:
    """A new page table that is for PASIDs, if the kernel makes one."""
    ioas = bound.iommufd.ioas_alloc()
    refused = hwpt_alloc_errno(bound.iommufd, bound.id, ioas, PASID)
    return hwpt_alloc(bound.iommufd, bound.id, ioas, 0 if refused else PASID)


@pytest.mark.promise("P8")
def test_an_iommu_without_pasids_has_no_page_table_for_them(without):
    """EOPNOTSUPP, as the header says."""
    ioas = without.iommufd.ioas_alloc()
    assert hwpt_alloc_errno(without.iommufd, without.id, ioas, PASID) == errno.EOPNOTSUPP


@pytest.mark.promise("P8")
def test_a_device_without_pasids_has_none_attached(without):
    table = made(without)
    for pasid in PASIDS:
        assert without.cdev.attach_errno(table, pasid) in (errno.EINVAL, errno.EOPNOTSUPP)
    assert table.destroy_errno() == 0


@pytest.mark.promise("P7")
def test_a_pasid_whose_attach_can_not_be_told_is_not_attached(without):
    """And the device itself is attached to what it was."""
    table, own = made(without), made(without)
    without.cdev.attach(own)
    request = struct(
        "vfio_device_attach_iommufd_pt",
        flags=lib.VFIO_DEVICE_ATTACH_PASID,
        pt_id=table.id,
        pasid=PASIDS[0],
    )
    with readable_only(request) as argument:
        fd = without.cdev.fileno()
        answer = ioctl_errno(fd, "VFIO_DEVICE_ATTACH_IOMMUFD_PT", argument)[1]
        assert answer in (errno.EFAULT, errno.EINVAL, errno.EOPNOTSUPP)
    assert own.destroy_errno() == errno.EBUSY
    assert table.destroy_errno() == 0
