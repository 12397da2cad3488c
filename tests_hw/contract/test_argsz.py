"""This file checks that a request minds the argsz it is given (P8).

Each request is made twice with the same arguments, and only the argsz differs: one byte less than
the shortest that the header allows, which is refused, and the shortest, which is not.
"""

import errno

import pytest

from vfio_hw.devices.kinds import need_features
from vfio_hw.fixtures import Target
from vfio_hw.fixtures.argsz import (
    ATTACH,
    BIND,
    CANARY,
    DESTROY,
    DETACH,
    DEVICE_INFO,
    DIRTY_PAGES,
    FEATURE,
    IOAS_ALLOC,
    IOAS_MAP,
    IOAS_UNMAP,
    IOEVENTFD,
    IRQ_INFO,
    MAP_DMA,
    PLANE,
    PRECOPY_INFO,
    REGION_INFO,
    SET_IRQS,
    STATUS,
    TYPE1_INFO,
    UNMAP_DMA,
    shortest,
)
from vfio_hw.uapi import ffi, ioctl_errno, lib, struct
from vfio_hw.vfio import irq
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.dma import PAGE, first_iova, mapped, memory
from vfio_hw.vfio.gfx import DMABUF, PROBE, REGION
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.migration import STATES, set_state
from vfio_hw.vfio.opened import opened

MODES = ["vfio_type1v2_iommu", "iommufd_compat_type1v2"]


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
@pytest.mark.parametrize("state", ["PRE_COPY", "PRE_COPY_P2P"])
def test_the_info_of_a_precopy_minds_its_argsz(mtty, state):
    with opened(mtty.path, MODES[0]) as user:
        need_features(user.device, "mtty", "MIG_DEVICE_STATE")
        with set_state(user.device, STATES[state]) as session:
            assert assert_minds_argsz(session, *PRECOPY_INFO).initial_bytes
            assert_stays_inside_argsz(session, *PRECOPY_INFO)


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
def test_the_tracking_of_dirty_pages_minds_its_argsz(device: Target):
    """Where the argsz was too short, nothing is being tracked: there is no bitmap to be had."""
    start, stop, get = (
        getattr(lib, f"VFIO_IOMMU_DIRTY_PAGES_FLAG_{verb}")
        for verb in ("START", "STOP", "GET_BITMAP")
    )
    header, room = shortest(*DIRTY_PAGES[1:]), ffi.new("uint64_t *")
    whole = header + ffi.sizeof("struct vfio_iommu_type1_dirty_bitmap_get")
    with opened(device.path, MODES[0]) as user, mapped(user.container) as (_, iova):
        bitmap = ffi.new("struct vfio_iommu_type1_dirty_bitmap_get *")
        bitmap.iova, bitmap.size = iova, PAGE
        bitmap.bitmap.pgsize, bitmap.bitmap.size, bitmap.bitmap.data = PAGE, 8, room
        data = bytes(ffi.buffer(bitmap))

        def got(argsz: int) -> int:
            name = DIRTY_PAGES[1]
            argument = struct(name, argsz=argsz, flags=get, data=data)
            return ioctl_errno(user.container.fileno(), DIRTY_PAGES[0], argument)[1]

        for argsz in (0, header - 1):
            argument = struct(DIRTY_PAGES[1], argsz=argsz, flags=start)
            refused = ioctl_errno(user.container.fileno(), DIRTY_PAGES[0], argument)[1]
            assert refused == errno.EINVAL
            assert got(whole) == errno.EINVAL
        assert_minds_argsz(user.container, *DIRTY_PAGES, flags=start)
        for argsz in (0, header - 1, header, whole - 1):
            assert got(argsz) == errno.EINVAL, f"{argsz} bytes"
        assert got(whole) == 0
        assert_minds_argsz(user.container, *DIRTY_PAGES, flags=stop)
        assert got(whole) == errno.EINVAL


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
