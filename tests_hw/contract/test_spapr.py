"""This file checks that what only POWER machines have is refused by all others (P8, P7).

Source: linux/vfio.h, "Additional API for SPAPR TCE (Server POWERPC) IOMMU"; and, for KVM,
Documentation/virt/kvm/devices/vfio.rst.
"""

import errno

import pytest

from vfio_hw.errors import Unsupported
from vfio_hw.fixtures import Target
from vfio_hw.host import kconfig
from vfio_hw.uapi import CData, ffi, ioctl_errno, lib, struct
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.dma import PAGE, accounted
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.kvm import Vm
from vfio_hw.vfio.opened import IOMMU_MODES, opened

EXTENSIONS = (lib.VFIO_SPAPR_TCE_IOMMU, lib.VFIO_SPAPR_TCE_v2_IOMMU, lib.VFIO_EEH)
#: By its name the struct of each request, "" for none. Two are not there, whose numbers are other
#: requests' here: VFIO_IOMMU_GET_INFO's and VFIO_IOMMU_DIRTY_PAGES's.
REQUESTS = {
    "VFIO_IOMMU_ENABLE": "",
    "VFIO_IOMMU_DISABLE": "",
    "VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY": "vfio_iommu_spapr_register_memory",
    "VFIO_IOMMU_SPAPR_TCE_CREATE": "vfio_iommu_spapr_tce_create",
    "VFIO_IOMMU_SPAPR_TCE_REMOVE": "vfio_iommu_spapr_tce_remove",
    "VFIO_EEH_PE_OP": "vfio_eeh_pe_op",
}
MEMBERS = {
    "vfio_iommu_spapr_register_memory": {"size": PAGE},
    "vfio_iommu_spapr_tce_create": {"page_shift": 12, "window_size": 1 << 30, "levels": 1},
}


def asked(container: Container, request: str) -> int:
    """The errno of a request with a good struct, which stays as it is."""
    name = REQUESTS[request]
    argument: CData = struct(name, **MEMBERS.get(name, {})) if name else ffi.NULL
    before = bytes(ffi.buffer(argument)) if name else b""
    _, answer = ioctl_errno(container.fileno(), request, argument)
    if name:
        assert bytes(ffi.buffer(argument)) == before, request
    return answer


@pytest.mark.promise("P8")
@pytest.mark.parametrize("kind", [Container, Iommufd])
def test_a_container_without_an_iommu_takes_none_of_them(device: Target, kind):
    """With a group or without; it takes an IOMMU afterwards."""
    refusals = {errno.EINVAL, errno.ENOTTY, errno.ENODEV}
    with kind() as container, Group(device.iommu_group) as group:
        assert not any(container.check_extension(each) for each in EXTENSIONS)
        for request in REQUESTS:
            assert asked(container, request) in refusals, request
        group.set_container(container)
        for request in REQUESTS:
            assert asked(container, request) in refusals, request
        assert container.set_iommu_errno(lib.VFIO_TYPE1v2_IOMMU) == 0


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@pytest.mark.parametrize("mode", [mode for mode in IOMMU_MODES if mode != "iommufd"])
def test_a_type1_iommu_takes_none_of_them(device: Target, mode):
    """ENOTTY; nothing is enabled, made, mapped or counted."""
    with opened(device.path, mode) as user:
        container = user.container
        assert not any(container.check_extension(each) for each in EXTENSIONS)
        before, info = accounted(), container.get_info()
        for request in REQUESTS:
            assert asked(container, request) == errno.ENOTTY, request
        assert accounted() == before
        assert container.get_info() == info
        assert user.device.info_errno() == 0


@pytest.mark.promise("P8")
def test_kvm_knows_no_table_of_its_guest(device: Target, vm: Vm):
    """ENXIO, as for any attribute that is not there, and no word of what it is set to.

    :raises Unsupported: this kernel has it.
    """
    if "CONFIG_SPAPR_TCE_IOMMU" in (kconfig.options() or ()):
        raise Unsupported("this kernel is of a POWER machine")
    where = lib.KVM_DEV_VFIO_FILE, lib.KVM_DEV_VFIO_GROUP_SET_SPAPR_TCE
    with vm.vfio() as bridge, Group(device.iommu_group) as group:
        # struct kvm_vfio_spapr_tce: a group, and a table that there can not be.
        data = ffi.new("int32_t[]", [group.fileno(), -1])
        for added in (False, True):
            if added:
                bridge.add(group)
            assert bridge.has_attr_errno(*where) == errno.ENXIO
            for addr in (0, int(ffi.cast("uintptr_t", data))):
                assert bridge.set_attr_errno(*where, addr) == errno.ENXIO
        assert bridge.delete_errno(group) == 0
