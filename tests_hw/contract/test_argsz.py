"""This file checks that a request minds the argsz it is given (P8).

Each request is made twice with the same arguments, and only the argsz differs: one byte less than
the shortest that the header allows, which is refused, and the shortest, which is not.
"""

import errno

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.uapi import ffi, ioctl_errno, lib, struct
from vfio_hw.vfio import irq
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.config import CAPABILITY_MSIX
from vfio_hw.vfio.dma import PAGE, first_iova, memory
from vfio_hw.vfio.gfx import DMABUF, PROBE, REGION
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.opened import opened

CANARY = 0xA5
MODES = ["vfio_type1v2_iommu", "iommufd_compat_type1v2"]

# The request, its struct, and the member with which the shortest form of the struct ends.
DEVICE_INFO = ("VFIO_DEVICE_GET_INFO", "vfio_device_info", "num_irqs")
REGION_INFO = ("VFIO_DEVICE_GET_REGION_INFO", "vfio_region_info", "offset")
IRQ_INFO = ("VFIO_DEVICE_GET_IRQ_INFO", "vfio_irq_info", "count")
SET_IRQS = ("VFIO_DEVICE_SET_IRQS", "vfio_irq_set", "count")
FEATURE = ("VFIO_DEVICE_FEATURE", "vfio_device_feature", "flags")
PLANE = ("VFIO_DEVICE_QUERY_GFX_PLANE", "vfio_device_gfx_plane_info", "region_index")
IOEVENTFD = ("VFIO_DEVICE_IOEVENTFD", "vfio_device_ioeventfd", "fd")
STATUS = ("VFIO_GROUP_GET_STATUS", "vfio_group_status", "flags")
TYPE1_INFO = ("VFIO_IOMMU_GET_INFO", "vfio_iommu_type1_info", "iova_pgsizes")
MAP_DMA = ("VFIO_IOMMU_MAP_DMA", "vfio_iommu_type1_dma_map", "size")
UNMAP_DMA = ("VFIO_IOMMU_UNMAP_DMA", "vfio_iommu_type1_dma_unmap", "size")
BIND = ("VFIO_DEVICE_BIND_IOMMUFD", "vfio_device_bind_iommufd", "out_devid")
ATTACH = ("VFIO_DEVICE_ATTACH_IOMMUFD_PT", "vfio_device_attach_iommufd_pt", "pt_id")
DETACH = ("VFIO_DEVICE_DETACH_IOMMUFD_PT", "vfio_device_detach_iommufd_pt", "flags")
IOAS_ALLOC = ("IOMMU_IOAS_ALLOC", "iommu_ioas_alloc", "out_ioas_id")
DESTROY = ("IOMMU_DESTROY", "iommu_destroy", "id")
IOAS_MAP = ("IOMMU_IOAS_MAP", "iommu_ioas_map", "iova")
IOAS_UNMAP = ("IOMMU_IOAS_UNMAP", "iommu_ioas_unmap", "length")


def shortest(name: str, member: str) -> int:
    """The size of ``struct name`` up to the end of ``member``."""
    kind = ffi.typeof(f"struct {name}")
    return ffi.offsetof(kind, member) + ffi.sizeof(dict(kind.fields)[member].type)


def assert_minds_argsz(descriptor, request, name, member, *, answer=0, **members):
    """``answer`` is the errno once the argsz is long enough; returns the struct of that time."""
    size = "size" if name.startswith("iommu_") else "argsz"
    for argsz, expected in (
        (0, errno.EINVAL),
        (shortest(name, member) - 1, errno.EINVAL),
        (shortest(name, member), answer),
    ):
        argument = struct(name, **{size: argsz}, **members)
        _, refused = ioctl_errno(descriptor.fileno(), request, argument)
        assert refused == expected, f"{request} with {argsz} bytes"
    return argument


def assert_stays_inside_argsz(descriptor, request, name, member):
    """An info request of index 0 writes nothing behind the shortest argsz."""
    size = shortest(name, member)
    page = ffi.new(f"uint8_t[{size + PAGE}]", bytes(size) + bytes([CANARY]) * PAGE)
    ffi.cast("uint32_t *", page)[0] = size
    _, refused = ioctl_errno(descriptor.fileno(), request, page)
    assert refused == 0
    assert set(bytes(page)[size:]) == {CANARY}, request


@pytest.mark.promise("P8")
def test_infos_of_a_device_mind_their_argsz(device: Target):
    with opened(device.path, MODES[0]) as user:
        for request in (DEVICE_INFO, REGION_INFO, IRQ_INFO):
            assert_minds_argsz(user.device, *request)
            assert_stays_inside_argsz(user.device, *request)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("kind", ["mdpy", "mbochs"])
def test_requests_of_a_display_mind_their_argsz(request, kind):
    """Of the planes as well; what is behind the shortest form of that struct stays as it was."""
    with opened(request.getfixturevalue(kind).path, MODES[0]) as user:
        for info in (DEVICE_INFO, REGION_INFO, IRQ_INFO):
            assert_minds_argsz(user.device, *info)
            assert_stays_inside_argsz(user.device, *info)
        flags = REGION if kind == "mdpy" else DMABUF
        plane = assert_minds_argsz(user.device, *PLANE, flags=flags, reserved=CANARY)
        assert plane.reserved == CANARY
        assert assert_minds_argsz(user.device, *PLANE, flags=flags | PROBE).width == 0


@pytest.mark.promise("P8")
def test_ioeventfd_minds_its_argsz(pci_device: Target):
    """Taking away what was never assigned is ENODEV."""
    with opened(pci_device.path, MODES[0]) as user:
        bar = user.device.region(lib.VFIO_PCI_BAR0_REGION_INDEX)
        write = {"flags": lib.VFIO_DEVICE_IOEVENTFD_32, "offset": bar.offset, "fd": -1}
        assert_minds_argsz(user.device, *IOEVENTFD, answer=errno.ENODEV, **write)


@pytest.mark.promise("P8")
def test_set_irqs_minds_its_argsz(device: Target):
    index = lib.VFIO_PCI_INTX_IRQ_INDEX
    loopback = {"flags": irq.NONE | irq.TRIGGER, "index": index, "count": 1}
    with opened(device.path, MODES[0]) as user, irq.armed(user.device, index) as [eventfd]:
        assert_minds_argsz(user.device, *SET_IRQS, **loopback)
        assert eventfd.fired() == 1


@pytest.mark.promise("P8")
def test_feature_minds_its_argsz(device: Target):
    """Asked whether it knows a feature of a number not given out, which it says it does not."""
    probe = lib.VFIO_DEVICE_FEATURE_PROBE | lib.VFIO_DEVICE_FEATURE_GET
    flags = probe | lib.VFIO_DEVICE_FEATURE_MASK
    with opened(device.path, MODES[0]) as user:
        assert_minds_argsz(user.device, *FEATURE, answer=errno.ENOTTY, flags=flags)


@pytest.mark.promise("P8")
def test_the_status_of_a_group_minds_its_argsz(device: Target):
    with opened(device.path, MODES[0]) as user:
        assert_minds_argsz(user.group, *STATUS)
        assert_stays_inside_argsz(user.group, *STATUS)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", MODES)
def test_requests_of_a_container_mind_their_argsz(device: Target, mode):
    with opened(device.path, mode) as user, memory() as page:
        assert_minds_argsz(user.container, *TYPE1_INFO)
        assert_stays_inside_argsz(user.container, *TYPE1_INFO)
        where = {"iova": first_iova(user.iommu), "size": PAGE}
        flags = lib.VFIO_DMA_MAP_FLAG_READ
        assert_minds_argsz(user.container, *MAP_DMA, vaddr=page.vaddr, flags=flags, **where)
        assert assert_minds_argsz(user.container, *UNMAP_DMA, **where).size == PAGE


@pytest.mark.promise("P8")
def test_requests_of_a_character_device_mind_their_argsz(device: Target):
    with Iommufd() as iommufd, Cdev(device.path) as cdev:
        assert_minds_argsz(cdev, *BIND, iommufd=iommufd.fileno())
        assert_minds_argsz(cdev, *ATTACH, pt_id=iommufd.ioas_alloc().id)
        assert_minds_argsz(cdev, *DETACH)


@pytest.mark.promise("P8")
def test_requests_of_an_iommufd_mind_their_size():
    with Iommufd() as iommufd, memory() as page:
        ioas = assert_minds_argsz(iommufd, *IOAS_ALLOC).out_ioas_id
        where = {"ioas_id": ioas, "iova": PAGE, "length": PAGE}
        flags = lib.IOMMU_IOAS_MAP_FIXED_IOVA | lib.IOMMU_IOAS_MAP_READABLE
        assert_minds_argsz(iommufd, *IOAS_MAP, flags=flags, user_va=page.vaddr, **where)
        assert assert_minds_argsz(iommufd, *IOAS_UNMAP, **where).length == PAGE
        assert_minds_argsz(iommufd, *DESTROY, id=ioas)


@pytest.mark.promise("P8")
def test_the_argsz_that_comes_back_makes_room_for_the_capabilities(e1000e):
    """The BAR with the MSI-X table, and no other, says that the table can be mapped."""
    with opened(e1000e.path, MODES[0]) as user:
        space = user.device.config()
        table = space.get(space.capability(CAPABILITY_MSIX) + 4, 4) & 7
        for index in range(lib.VFIO_PCI_ROM_REGION_INDEX):
            found = user.device.region(index).capabilities
            assert (lib.VFIO_REGION_INFO_CAP_MSIX_MAPPABLE in found) == (index == table)
        bare = struct("vfio_region_info", index=table)
        assert ioctl_errno(user.device.fileno(), REGION_INFO[0], bare) == (0, 0)
        assert bare.flags & lib.VFIO_REGION_INFO_FLAG_CAPS
        assert bare.argsz > ffi.sizeof("struct vfio_region_info")
        assert bare.cap_offset == 0
