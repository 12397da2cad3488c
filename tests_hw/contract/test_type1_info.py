"""This file checks what a container says of itself: its extensions, the chain of GET_INFO (P8).

Which iovas are usable is compared with sysfs in test_dma, how many mappings fit in test_limits.
"""

import errno
from pathlib import Path

import pytest

from vfio_hw.errors import Unsupported
from vfio_hw.host import kconfig
from vfio_hw.uapi import CData, ffi, ioctl_errno, lib
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.dma import PAGE, first_iova, mapped, memory
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.info import capability
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.opened import opened

CONTAINERS = ["vfio_type1_iommu", "vfio_type1v2_iommu"]
COMPAT = ["iommufd_compat_type1", "iommufd_compat_type1v2"]
TYPE1 = {lib.VFIO_TYPE1_IOMMU, lib.VFIO_TYPE1v2_IOMMU, lib.VFIO_UNMAP_ALL}
# Of another platform, or taken back, and numbers that nobody has.
NEVER = {
    *(lib.VFIO_SPAPR_TCE_IOMMU, lib.VFIO_SPAPR_TCE_v2_IOMMU, lib.VFIO_EEH),
    *(0, 1 << 16, 2**31 - 1, 2**32 - 1),
}
# Of Type1 too: "vfio: Remove VFIO_TYPE1_NESTING_IOMMU" took it back.
NESTING = lib.__VFIO_RESERVED_TYPE1_NESTING_IOMMU
KNOWN = TYPE1 | NEVER | {lib.VFIO_UPDATE_VADDR, lib.VFIO_NOIOMMU_IOMMU, lib.VFIO_DMA_CC_IOMMU}
UNSAFE = Path("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode")
# Source: Intel VT-d specification, section 11.4.3, Extended Capability Register: Snoop Control.
SNOOP_CONTROL = 1 << 7
START, STOP = lib.VFIO_IOMMU_DIRTY_PAGES_FLAG_START, lib.VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP
# An answer with page sizes and capabilities says both.
SAID = lib.VFIO_IOMMU_INFO_PGSIZES | lib.VFIO_IOMMU_INFO_CAPS
CANARY = 0xA5


@pytest.fixture(params=["mtty", "edu"])
def device(request: pytest.FixtureRequest):
    """A mediated device, and one behind the machine's IOMMU."""
    return request.getfixturevalue(request.param)


def extensions(container: Container) -> set[int]:
    """The known ones that it says it has."""
    return {number for number in KNOWN if container.check_extension(number) > 0}


def no_iommu(kind: type[Container]) -> set[int]:
    """Devices without an IOMMU: a matter of configuration to iommufd, else of a parameter too."""
    configured = "CONFIG_VFIO_NOIOMMU" in (kconfig.options() or ())
    switched = kind is Iommufd or (UNSAFE.exists() and UNSAFE.read_text().strip() == "Y")
    return {lib.VFIO_NOIOMMU_IOMMU} if configured and switched else set()


@pytest.mark.promise("P8")
def test_a_container_without_group_offers_what_its_drivers_can():
    with Container() as container:
        assert extensions(container) == TYPE1 | no_iommu(Container)


@pytest.mark.promise("P8")
def test_the_type_that_was_taken_back_can_be_set_where_it_is_still_offered(mtty):
    """And nowhere else; the driver opens for it all the same, so only the offer keeps it away."""
    with Container() as container, Group(mtty.iommu_group) as group:
        offered = container.check_extension(NESTING)
        assert offered in (0, 1)
        group.set_container(container)
        assert container.check_extension(NESTING) == offered
        assert container.set_iommu_errno(NESTING) == (0 if offered else errno.ENODEV)
        if not offered:
            assert container.set_iommu_errno(lib.VFIO_TYPE1v2_IOMMU) == 0
        assert container.check_extension(NESTING) == offered
        assert container.set_iommu_errno(lib.VFIO_TYPE1v2_IOMMU) == errno.EINVAL


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", CONTAINERS)
def test_a_container_with_an_iommu_offers_what_that_can(mtty, edu, mode):
    """Either version of Type1 offers both; addresses are exchanged where nothing is mediated."""
    vaddr, coherent = lib.VFIO_UPDATE_VADDR, lib.VFIO_DMA_CC_IOMMU
    with opened(edu.path, mode) as user:
        assert extensions(user.container) - {coherent} == TYPE1 | {vaddr}
        with Group(mtty.iommu_group) as group:
            group.set_container(user.container)
            assert extensions(user.container) - {coherent} == TYPE1
            group.unset_container()
            assert extensions(user.container) - {coherent} == TYPE1 | {vaddr}


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", COMPAT)
def test_an_iommufd_as_container_offers_type1_without_exchange_of_addresses(device, mode):
    """Also the version that was not chosen. Source: check_extension in iommufd's vfio_compat.c."""
    with opened(device.path, mode) as user:
        found = extensions(user.container) - {lib.VFIO_DMA_CC_IOMMU}
        assert found == TYPE1 | no_iommu(Iommufd)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", CONTAINERS + COMPAT)
def test_dma_is_coherent_where_the_iommu_controls_snooping(edu, mode):
    """Which its register says in sysfs.

    :raises Unsupported: the IOMMU is none of Intel's.
    """
    register = edu.path / "iommu" / "intel-iommu" / "ecap"
    if not register.exists():
        raise Unsupported("this IOMMU does not show in sysfs whether it controls snooping")
    controls = bool(int(register.read_text(), 16) & SNOOP_CONTROL)
    with opened(edu.path, mode) as user:
        assert bool(user.container.check_extension(lib.VFIO_DMA_CC_IOMMU)) == controls


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", CONTAINERS)
def test_the_capabilities_of_type1_are_of_version_1_and_agree(device, mode):
    """Iovas are listed where an IOMMU limits them; bitmaps have bits for the smallest pages."""
    migration = lib.VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION
    ranges = lib.VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE
    with opened(device.path, mode) as user:
        info = user.container.get_info()
        limited = (device.path / "iommu").exists()
        expected = {migration, lib.VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL} | (
            {ranges} if limited else set()
        )
        assert set(info.capabilities) == expected
        for data in info.capabilities.values():
            assert capability("struct vfio_info_cap_header", data).version == 1
        assert info.flags & SAID == SAID
        assert info.pgsizes & -info.pgsizes == PAGE
        layout = "struct vfio_iommu_type1_info_cap_migration"
        cap = capability(layout, info.capabilities[migration])
        assert (cap.flags, cap.pgsize_bitmap) == (0, PAGE)
        assert cap.max_dirty_bitmap_size >= PAGE


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", COMPAT)
def test_an_iommufd_as_container_lists_iovas_and_room_and_tracks_nothing(device, mode):
    with opened(device.path, mode) as user:
        info = user.container.get_info()
        assert set(info.capabilities) == {
            lib.VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE,
            lib.VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL,
        }
        for data in info.capabilities.values():
            assert capability("struct vfio_info_cap_header", data).version == 1
        assert info.flags & SAID == SAID
        assert info.pgsizes & -info.pgsizes == PAGE
        before = info.dma_avail
        with mapped(user.iommu):
            assert user.container.get_info().dma_avail in (before, before - 1)


def asked(container: Container, argsz: int, room: int) -> CData:
    """GET_INFO with this argsz; behind it there are canaries."""
    page = ffi.new(f"uint8_t[{room}]", bytes([CANARY]) * room)
    ffi.memmove(page, bytes(min(argsz, room)), min(argsz, room))
    ffi.cast("uint32_t *", page)[0] = argsz
    assert ioctl_errno(container.fileno(), "VFIO_IOMMU_GET_INFO", page) == (0, 0)
    return page


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", CONTAINERS + COMPAT)
def test_capabilities_come_whole_or_not_at_all_and_stay_inside_argsz(device, mode):
    """With too little room only how much is needed is told; with more, nothing else changes."""
    size, room = ffi.sizeof("struct vfio_iommu_type1_info"), PAGE
    with opened(device.path, mode) as user:
        needed = ffi.cast("struct vfio_iommu_type1_info *", asked(user.container, size, room)).argsz
        assert size < needed < room
        whole = bytes(asked(user.container, needed, room))[:needed]
        for argsz in (*range(size, needed + 8), 2 * needed, room):
            page = asked(user.container, argsz, room)
            head = ffi.cast("struct vfio_iommu_type1_info *", page)
            assert head.flags & lib.VFIO_IOMMU_INFO_CAPS
            assert bool(head.cap_offset) == (argsz >= needed), f"argsz {argsz} of {needed}"
            assert set(bytes(page)[argsz:]) <= {CANARY}, f"argsz {argsz}"
            if argsz >= needed:
                assert bytes(page)[size:needed] == whole[size:]
            else:
                assert head.argsz == needed


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_dirty_pages_without_a_flag_or_a_page_size_are_refused(device):
    """Whether pages are tracked or not; and then they are, or are not, as before."""
    with opened(device.path, "vfio_type1v2_iommu") as user, memory() as ours:
        container, iova = user.container, first_iova(user.iommu)
        container.map_dma(iova, ours.vaddr, PAGE)
        for tracked in (False, True):
            if tracked:
                container.dirty_pages(START)
            for length in (0, 40):
                assert container.dirty_pages_errno(0, bytes(length)) == errno.EINVAL
            assert container.dirty_bitmap_errno(iova, PAGE, room=8) == (
                0 if tracked else errno.EINVAL
            )
        container.dirty_pages(STOP)
        assert container.dirty_bitmap_errno(iova, PAGE) == errno.EINVAL
        assert container.unmap_dma(iova, PAGE) == PAGE
