"""This file checks that every request refuses an argsz too short, and writes no further than it (P8).

The shortest argsz is where the member that the request first had last ends.
"""

import errno

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.uapi import ffi, ioctl_errno, lib
from vfio_hw.vfio.opened import opened

CANARY = 0xA5

DEVICE = [
    ("VFIO_DEVICE_GET_INFO", "vfio_device_info", "num_irqs"),
    ("VFIO_DEVICE_GET_REGION_INFO", "vfio_region_info", "offset"),
    ("VFIO_DEVICE_GET_IRQ_INFO", "vfio_irq_info", "count"),
]
SET_IRQS = ("VFIO_DEVICE_SET_IRQS", "vfio_irq_set", "count")
FEATURE = ("VFIO_DEVICE_FEATURE", "vfio_device_feature", "flags")
GROUP = ("VFIO_GROUP_GET_STATUS", "vfio_group_status", "flags")
TYPE1_INFO = ("VFIO_IOMMU_GET_INFO", "vfio_iommu_type1_info", "iova_pgsizes")
TYPE1 = [
    TYPE1_INFO,
    ("VFIO_IOMMU_MAP_DMA", "vfio_iommu_type1_dma_map", "size"),
    ("VFIO_IOMMU_UNMAP_DMA", "vfio_iommu_type1_dma_unmap", "size"),
]
CDEV = [
    ("VFIO_DEVICE_BIND_IOMMUFD", "vfio_device_bind_iommufd", "out_devid"),
    ("VFIO_DEVICE_ATTACH_IOMMUFD_PT", "vfio_device_attach_iommufd_pt", "pt_id"),
    ("VFIO_DEVICE_DETACH_IOMMUFD_PT", "vfio_device_detach_iommufd_pt", "flags"),
]
IOMMUFD = [
    ("IOMMU_DESTROY", "iommu_destroy", "id"),
    ("IOMMU_IOAS_ALLOC", "iommu_ioas_alloc", "out_ioas_id"),
    ("IOMMU_IOAS_IOVA_RANGES", "iommu_ioas_iova_ranges", "out_iova_alignment"),
    ("IOMMU_IOAS_MAP", "iommu_ioas_map", "iova"),
    ("IOMMU_IOAS_UNMAP", "iommu_ioas_unmap", "length"),
    ("IOMMU_VFIO_IOAS", "iommu_vfio_ioas", "__reserved"),
]
MODES = ["vfio_type1v2_iommu", "iommufd_compat_type1v2"]


def shortest(name: str, member: str) -> int:
    """The size of ``struct name`` up to the end of ``member``."""
    kind = ffi.typeof(f"struct {name}")
    return ffi.offsetof(kind, member) + ffi.sizeof(dict(kind.fields)[member].type)


def asked(descriptor, request: str, size: int) -> tuple[int, bytes]:
    """The errno of a request that says it has ``size`` bytes, and the page behind it after.

    All else in the struct is 0, which every info request takes.
    """
    memory = ffi.new("uint8_t[4096]", bytes(size) + bytes([CANARY]) * (4096 - size))
    ffi.cast("uint32_t *", memory)[0] = size
    _, refused = ioctl_errno(descriptor.fileno(), request, memory)
    return refused, bytes(ffi.buffer(memory))[size:]


def assert_too_short_is_refused(descriptor, request: str, name: str, member: str) -> None:
    size = shortest(name, member) - 1
    for short in (0, size):
        refused, behind = asked(descriptor, request, short)
        assert refused == errno.EINVAL, f"{request} with {short} bytes"
        # Of the four bytes of argsz itself only those inside can be trusted to a size of 0.
        assert set(behind[4:]) == {CANARY}, f"{request} with {short} bytes"


def assert_nothing_is_written_behind(descriptor, request: str, name: str, member: str) -> None:
    refused, behind = asked(descriptor, request, shortest(name, member))
    assert refused == 0, request
    assert set(behind) == {CANARY}, request


@pytest.mark.promise("P8")
def test_requests_of_a_device_refuse_a_short_argsz(device: Target):
    with opened(device.path, MODES[0]) as user:
        for request in (*DEVICE, SET_IRQS, FEATURE):
            assert_too_short_is_refused(user.device, *request)


@pytest.mark.promise("P8")
def test_infos_of_a_device_stay_inside_a_minimal_argsz(device: Target):
    """Even where there is more to say, as of capabilities."""
    with opened(device.path, MODES[0]) as user:
        for request in DEVICE:
            assert_nothing_is_written_behind(user.device, *request)


@pytest.mark.promise("P8")
def test_the_status_of_a_group_minds_its_argsz(device: Target):
    with opened(device.path, MODES[0]) as user:
        assert_too_short_is_refused(user.group, *GROUP)
        assert_nothing_is_written_behind(user.group, *GROUP)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", MODES)
def test_requests_of_a_container_mind_their_argsz(device: Target, mode):
    with opened(device.path, mode) as user:
        for request in TYPE1:
            assert_too_short_is_refused(user.container, *request)
        assert_nothing_is_written_behind(user.container, *TYPE1_INFO)


@pytest.mark.promise("P8")
def test_requests_of_a_character_device_refuse_a_short_argsz(device: Target):
    with opened(device.path, "iommufd") as user:
        for request in CDEV:
            assert_too_short_is_refused(user.cdev, *request)


@pytest.mark.promise("P8")
def test_requests_of_an_iommufd_refuse_a_short_size(mtty):
    with opened(mtty.path, "iommufd") as user:
        for request in IOMMUFD:
            assert_too_short_is_refused(user.iommufd, *request)


@pytest.mark.promise("P8")
def test_the_argsz_that_comes_back_is_enough_for_the_capabilities(e1000e):
    """The BAR with the MSI-X table has a capability, so a minimal argsz is too short for it."""
    with opened(e1000e.path, MODES[0]) as user:
        bars = [user.device.region(index) for index in range(lib.VFIO_PCI_ROM_REGION_INDEX)]
        with_table = [
            bar for bar in bars if lib.VFIO_REGION_INFO_CAP_MSIX_MAPPABLE in bar.capabilities
        ]
        space = user.device.config()
        table = space.get(space.capability(0x11) + 4, 4)
        assert [bar.index for bar in with_table] == [table & 7]
