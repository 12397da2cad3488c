"""This file checks that a request takes an argsz that is longer than its struct (P8).

A program that was built with newer headers makes such requests: what is behind the struct means
nothing while no flag says that it does. Only a request that is declared to may want it to be zero.
"""

import errno

import pytest

from vfio_hw.devices.kinds import need_features
from vfio_hw.fixtures import Target
from vfio_hw.fixtures.argsz import (
    ATTACH,
    BIND,
    CANARY,
    DETACH,
    DEVICE_INFO,
    DIRTY_PAGES,
    FEATURE,
    IOEVENTFD,
    IRQ_INFO,
    MAP_DMA,
    PLANE,
    PRECOPY_INFO,
    REGION_INFO,
    SET_IRQS,
    STATUS,
    UNMAP_DMA,
    behind,
    longer,
)
from vfio_hw.uapi import ffi, ioctl_errno, lib, struct
from vfio_hw.vfio import irq
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.descriptor import Descriptor
from vfio_hw.vfio.dma import PAGE, accounted, first_iova, memory
from vfio_hw.vfio.gfx import DMABUF, PROBE, REGION
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.migration import STATES, set_state
from vfio_hw.vfio.opened import opened

MODES = ["vfio_type1v2_iommu", "iommufd_compat_type1v2"]
tails = pytest.mark.parametrize("tail", [0, CANARY], ids=["zeros", "garbage"])


def assert_takes_longer(
    descriptor: Descriptor,
    request: str,
    name: str,
    _: str,
    *,
    tail: int,
    answer: int = 0,
    **members,
) -> bytearray:
    """``answer`` is the errno of the same request with its own argsz; returns the struct after."""
    argument, data = longer(name, tail, **members)
    _, refused = ioctl_errno(descriptor.fileno(), request, argument)
    assert refused == answer, f"{request} with {len(data)} bytes"
    assert set(behind(data)) == {tail}, request
    return data


def assert_tells_the_same(descriptor: Descriptor, request: str, name: str, *rest, **members):
    """An info request, without capabilities to tell, says what it says with its own argsz."""
    exact = struct(name, **members)
    assert ioctl_errno(descriptor.fileno(), request, exact) == (0, 0)
    told = bytes(ffi.buffer(exact))[ffi.sizeof("uint32_t") :]
    for tail in (0, CANARY):
        data = assert_takes_longer(descriptor, request, name, *rest, tail=tail, **members)
        assert data[ffi.sizeof("uint32_t") :].startswith(told), request


def held() -> int:
    """Bytes that devices reach: type1 counts them as locked, iommufd as pinned, or as both."""
    now = accounted()
    return max(now.locked, now.pinned)


@pytest.mark.promise("P8")
def test_infos_of_a_device_take_more(device: Target):
    """Of BAR 0, which has no capability to tell on any of these."""
    with opened(device.path, MODES[0]) as user:
        for request in (DEVICE_INFO, REGION_INFO, IRQ_INFO):
            assert_tells_the_same(user.device, *request)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("kind", ["mdpy", "mbochs"])
def test_requests_of_a_display_take_more(request, kind):
    with opened(request.getfixturevalue(kind).path, MODES[0]) as user:
        for info in (DEVICE_INFO, REGION_INFO, IRQ_INFO):
            assert_tells_the_same(user.device, *info)
        flags = REGION if kind == "mdpy" else DMABUF
        assert_tells_the_same(user.device, *PLANE, flags=flags)
        assert_tells_the_same(user.device, *PLANE, flags=flags | PROBE)


@pytest.mark.promise("P8")
@tails
def test_set_irqs_takes_more(device: Target, tail):
    """Behind the data that the count announces there is no more of it."""
    index = lib.VFIO_PCI_INTX_IRQ_INDEX
    loopback = {"index": index, "count": 1}
    with opened(device.path, MODES[0]) as user, irq.armed(user.device, index) as [eventfd]:
        for data, kind in ((b"", irq.NONE), (b"\1", irq.BOOL)):
            flags = kind | irq.TRIGGER
            assert_takes_longer(
                user.device, *SET_IRQS, tail=tail, flags=flags, data=data, **loopback
            )
            assert eventfd.fired() == 1
            # INTx masks itself when it comes.
            irq.unmask(user.device, index)
        # A count of none has no data, whatever there is room for.
        off = {"flags": irq.NONE | irq.TRIGGER, "index": index, "count": 0}
        assert_takes_longer(user.device, *SET_IRQS, tail=tail, **off)


@pytest.mark.promise("P8")
@tails
def test_a_probe_of_a_feature_takes_more(mtty, tail):
    """What is more than a probe is in test_feature_sizes.py."""
    with opened(mtty.path, MODES[0]) as user:
        need_features(user.device, "mtty", "MIGRATION")
        flags = lib.VFIO_DEVICE_FEATURE_MIGRATION | lib.VFIO_DEVICE_FEATURE_PROBE
        for verb in (lib.VFIO_DEVICE_FEATURE_GET, 0):
            assert_takes_longer(user.device, *FEATURE, tail=tail, flags=flags | verb)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("state", ["PRE_COPY", "PRE_COPY_P2P"])
def test_the_info_of_a_precopy_takes_more(mtty, state):
    with opened(mtty.path, MODES[0]) as user:
        need_features(user.device, "mtty", "MIG_DEVICE_STATE")
        with set_state(user.device, STATES[state]) as session:
            assert_tells_the_same(session, *PRECOPY_INFO)


@pytest.mark.promise("P8")
@tails
def test_ioeventfd_takes_more(pci_device: Target, tail):
    """Taking away what was never assigned is ENODEV."""
    with opened(pci_device.path, MODES[0]) as user:
        bar = user.device.region(lib.VFIO_PCI_BAR0_REGION_INDEX)
        write = {"flags": lib.VFIO_DEVICE_IOEVENTFD_32, "offset": bar.offset, "fd": -1}
        assert_takes_longer(user.device, *IOEVENTFD, tail=tail, answer=errno.ENODEV, **write)


@pytest.mark.promise("P8")
def test_the_status_of_a_group_takes_more(device: Target):
    with opened(device.path, MODES[0]) as user:
        assert_tells_the_same(user.group, *STATUS)


@pytest.mark.promise("P8")
@tails
@pytest.mark.parametrize("mode", MODES)
def test_mapping_and_unmapping_take_more(edu, mode, tail):
    """And map one page, and unmap it, as they do without."""
    with opened(edu.path, mode) as user, memory() as page:
        before = held()
        where = {"iova": first_iova(user.iommu), "size": PAGE}
        flags = lib.VFIO_DMA_MAP_FLAG_READ | lib.VFIO_DMA_MAP_FLAG_WRITE
        assert_takes_longer(
            user.container, *MAP_DMA, tail=tail, vaddr=page.vaddr, flags=flags, **where
        )
        assert held() - before == PAGE
        data = assert_takes_longer(user.container, *UNMAP_DMA, tail=tail, **where)
        assert ffi.from_buffer("struct vfio_iommu_type1_dma_unmap *", data).size == PAGE
        assert held() == before


@pytest.mark.promise("P8")
@tails
def test_the_tracking_of_dirty_pages_takes_more(device: Target, tail):
    """So does an unmapping that asks for a bitmap; what the bitmaps tell is the same."""
    start, stop, get = (
        getattr(lib, f"VFIO_IOMMU_DIRTY_PAGES_FLAG_{verb}")
        for verb in ("START", "STOP", "GET_BITMAP")
    )
    words = ffi.new("uint64_t *")
    bitmap = struct("vfio_bitmap", pgsize=PAGE, size=8, data=words)
    with opened(device.path, MODES[0]) as user, memory() as page:
        container, iova = user.container, first_iova(user.iommu)
        container.map_dma(iova, page.vaddr, PAGE)
        range_ = struct("vfio_iommu_type1_dirty_bitmap_get", iova=iova, size=PAGE, bitmap=bitmap[0])
        data = bytes(ffi.buffer(range_))
        assert_takes_longer(container, *DIRTY_PAGES, tail=tail, flags=start)
        told = container.dirty_bitmap(iova, PAGE)
        assert_takes_longer(container, *DIRTY_PAGES, tail=tail, flags=get, data=data)
        assert bytes(ffi.buffer(words)) == told
        words[0] = 0
        unmap = {"iova": iova, "size": PAGE, "data": bytes(ffi.buffer(bitmap))}
        flags = lib.VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP
        assert_takes_longer(container, *UNMAP_DMA, tail=tail, flags=flags, **unmap)
        assert bytes(ffi.buffer(words)) == told
        assert container.unmap_all() == 0
        assert_takes_longer(container, *DIRTY_PAGES, tail=tail, flags=stop)
        assert container.dirty_bitmap_errno(iova, PAGE) == errno.EINVAL


@pytest.mark.promise("P8")
@tails
def test_requests_of_a_character_device_take_more(device: Target, tail):
    """Binding may want what it does not know to be zero, as iommufd does: E2BIG where it is not."""
    with Iommufd() as iommufd, Cdev(device.path) as cdev:
        if tail:
            argument, _ = longer(BIND[1], tail, iommufd=iommufd.fileno())
            _, refused = ioctl_errno(cdev.fileno(), BIND[0], argument)
            assert refused in (0, errno.E2BIG)
            if refused:
                cdev.bind_iommufd(iommufd)
        else:
            assert_takes_longer(cdev, *BIND, tail=0, iommufd=iommufd.fileno())
        assert_takes_longer(cdev, *ATTACH, tail=tail, pt_id=iommufd.ioas_alloc().id)
        assert_takes_longer(cdev, *DETACH, tail=tail)
