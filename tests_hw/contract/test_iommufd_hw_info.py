"""This file checks what IOMMU_GET_HW_INFO tells of the IOMMU, against sysfs (P8)."""

import errno

import pytest

from vfio_hw.errors import Unsupported
from vfio_hw.host.iommu import (
    ECAP_SLADS,
    ECAP_SMTS,
    EXTENDED_ATS,
    EXTENDED_PASID,
    amd_features,
    extended_capabilities,
    vtd_registers,
)
from vfio_hw.uapi import ffi, ioctl_errno, lib, struct
from vfio_hw.vfio.dma import PAGE
from vfio_hw.vfio.hwpt import hw_info, hw_info_errno
from vfio_hw.vfio.info import capability

TOP = 2**64
KINDS = (
    lib.IOMMU_HW_INFO_TYPE_INTEL_VTD,
    lib.IOMMU_HW_INFO_TYPE_ARM_SMMUV3,
    lib.IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV,
    lib.IOMMU_HW_INFO_TYPE_AMD,
)


@pytest.mark.promise("P8")
def test_the_iommu_is_what_sysfs_says_it_is(bound):
    """Its registers; and what the function's own config space lacks, it can not do with it."""
    path, iommufd, devid = bound.path, bound.iommufd, bound.id
    cap, ecap = vtd_registers(path)
    found = hw_info(iommufd, devid)
    size = ffi.sizeof("struct iommu_hw_info_vtd")
    assert (found.kind, found.length) == (lib.IOMMU_HW_INFO_TYPE_INTEL_VTD, size)
    vtd = capability("struct iommu_hw_info_vtd", found.data)
    # The kernel masks nothing out but what it never uses.
    assert (vtd.cap_reg, vtd.ecap_reg) == (cap, ecap)
    assert vtd.__reserved == 0
    dirty = bool(ecap & ECAP_SLADS and ecap & ECAP_SMTS)
    assert bool(found.capabilities & lib.IOMMU_HW_CAP_DIRTY_TRACKING) == dirty
    own = extended_capabilities(path)
    if EXTENDED_ATS not in own:
        assert found.capabilities & lib.IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED
    if EXTENDED_PASID not in own or not ecap & ECAP_SMTS:
        assert found.pasid_width == 0
    known = (
        lib.IOMMU_HW_CAP_DIRTY_TRACKING
        | lib.IOMMU_HW_CAP_PCI_PASID_EXEC
        | lib.IOMMU_HW_CAP_PCI_PASID_PRIV
        | lib.IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED
    )
    assert found.capabilities & ~known == 0


@pytest.mark.promise("P8")
def test_amds_iommu_is_what_sysfs_says_it_is(bound):
    efr, efr2 = amd_features(bound.path)
    found = hw_info(bound.iommufd, bound.id)
    if found.kind == lib.IOMMU_HW_INFO_TYPE_NONE:
        raise Unsupported(
            "this kernel tells nothing of AMD's IOMMU", option="CONFIG_AMD_IOMMU_IOMMUFD"
        )
    size = ffi.sizeof("struct iommu_hw_info_amd")
    assert (found.kind, found.length) == (lib.IOMMU_HW_INFO_TYPE_AMD, size)
    amd = capability("struct iommu_hw_info_amd", found.data)
    assert (amd.efr, amd.efr2) == (efr, efr2)


@pytest.mark.promise("P8")
def test_as_much_is_told_of_the_iommu_as_there_is_room_for_and_the_rest_is_zero(bound):
    iommufd, devid = bound.iommufd, bound.id
    whole = hw_info(iommufd, devid, room=PAGE)
    assert not any(whole.data[whole.length :])
    for room in {0, 1, 8, max(whole.length - 1, 0), whole.length, whole.length + 1}:
        found = hw_info(iommufd, devid, room=room)
        assert found.length == whole.length
        assert found.data == whole.data[:room]
    for address in (0, TOP - PAGE):
        request = struct("iommu_hw_info", dev_id=devid, data_len=8, data_uptr=address)
        assert ioctl_errno(iommufd.fileno(), "IOMMU_GET_HW_INFO", request)[1] == errno.EFAULT


@pytest.mark.promise("P8")
def test_an_iommu_is_of_the_kind_that_is_asked_for_or_not_told_of(bound):
    """A driver that tells of no kind says so, or refuses."""
    iommufd, devid = bound.iommufd, bound.id
    own = hw_info(iommufd, devid)
    for kind in (lib.IOMMU_HW_INFO_TYPE_DEFAULT, own.kind):
        assert hw_info(iommufd, devid, kind=kind) == own
    for kind in {*KINDS, 0xFFFF} - {own.kind}:
        refused = hw_info_errno(iommufd, devid, kind=kind)
        if own.kind != lib.IOMMU_HW_INFO_TYPE_NONE or refused:
            assert refused == errno.EOPNOTSUPP
        else:
            assert hw_info(iommufd, devid, kind=kind) == own
