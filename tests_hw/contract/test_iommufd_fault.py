"""This file checks queues of page faults, and what is refused without virtual IOMMUs (P8, P7).

No emulated device asks for pages, so no fault ever comes. Source: linux/iommufd.h,
IOMMU_FAULT_QUEUE_ALLOC, Documentation/userspace-api/iommufd.rst.
"""

import errno
import os
import select
from pathlib import Path

import pytest

from vfio_hw.errors import KernelRefused, Unsupported
from vfio_hw.fixtures.iommufd import NOBODY, need, readable_only
from vfio_hw.host.iommu import EXTENDED_PRI, extended_capabilities, reserved_iovas
from vfio_hw.host.limits import no_free_descriptor
from vfio_hw.host.sysfs import names_in
from vfio_hw.uapi import ffi, ioctl_errno, lib, struct
from vfio_hw.vfio.descriptor import errno_of
from vfio_hw.vfio.dma import PAGE, memory
from vfio_hw.vfio.fault import FAULT_SIZE, FaultQueue
from vfio_hw.vfio.hwpt import Hwpt, hwpt_alloc, hwpt_alloc_errno
from vfio_hw.vfio.ioas import Ioas
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.viommu import (
    EventQueue,
    hw_queue_alloc_errno,
    vdevice_alloc_errno,
    viommu_alloc_errno,
)

FAULT = lib.IOMMU_HWPT_FAULT_ID_VALID
# The first kind of either is reserved for later.
RESERVED = 0
EVENTS = (
    lib.IOMMU_VEVENTQ_TYPE_DEFAULT,
    lib.IOMMU_VEVENTQ_TYPE_ARM_SMMUV3,
    lib.IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV,
)
QUEUES = (lib.IOMMU_HW_QUEUE_TYPE_DEFAULT, lib.IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV)
VIRTUAL = [f"IOMMU_{of}_ALLOC" for of in ("VIOMMU", "VDEVICE", "VEVENTQ", "HW_QUEUE")]


def response(cookie: int, code: int = lib.IOMMUFD_PAGE_RESP_SUCCESS) -> bytes:
    """The answer to a fault."""
    answer = ffi.new("struct iommu_hwpt_page_response *", {"cookie": cookie, "code": code})
    return bytes(ffi.buffer(answer))


@pytest.fixture
def faultless(bound):
    """A device that can not ask for pages.

    :raises Unsupported: it can.
    """
    if EXTENDED_PRI in extended_capabilities(bound.path):
        raise Unsupported(f"{bound.path.name} has the page request interface")
    return bound


def with_queue(bound, ioas: Ioas, queue: FaultQueue) -> Hwpt:
    """A page table of the address space whose faults go to the queue.

    :raises Unsupported: the IOMMU in front of the device has none.
    """
    try:
        return hwpt_alloc(bound.iommufd, bound.id, ioas, FAULT, fault=queue.id)
    except KernelRefused as refused:
        if refused.errno != errno.EOPNOTSUPP or (bound.path / "iommu" / "intel-iommu").is_dir():
            raise
        raise Unsupported(f"the IOMMU of {bound.path.name} has no queues of faults") from None


@pytest.mark.promise("P8")
def test_a_queue_without_faults_is_empty_and_takes_answers_to_none():
    with Iommufd() as iommufd, FaultQueue(iommufd) as queue:
        for _ in range(2):
            assert queue.polled() == select.POLLOUT
            for count in (FAULT_SIZE, 4 * FAULT_SIZE):
                assert queue.read(count) == b""
            for cookie in (0, 1, NOBODY, 2**32 - 1):
                for code in (lib.IOMMUFD_PAGE_RESP_SUCCESS, lib.IOMMUFD_PAGE_RESP_INVALID):
                    assert queue.respond_errno(response(cookie, code)) == errno.EINVAL
                    assert queue.respond_errno(response(cookie, code) * 3) == errno.EINVAL
            for code in (2, NOBODY, 2**32 - 1):
                assert queue.respond_errno(response(1, code)) == errno.EINVAL
            for part in (1, 7, 9):
                assert queue.respond_errno((response(1) * 2)[:part]) == errno.ESPIPE
                assert queue.read_errno(FAULT_SIZE + part) == errno.ESPIPE


@pytest.mark.promise("P8")
@pytest.mark.promise("P9")
def test_a_queue_is_in_use_while_it_is_open_or_a_page_table_has_it(bound):
    """EBUSY; it is open however often its descriptor was duplicated."""
    iommufd, ioas = bound.iommufd, bound.iommufd.ioas_alloc()
    with FaultQueue(iommufd) as queue:
        table = with_queue(bound, ioas, queue)
        other = with_queue(bound, ioas, queue)
        second = os.dup(queue.fileno())
        assert iommufd.destroy_errno(queue.id) == errno.EBUSY
    assert iommufd.destroy_errno(queue.id) == errno.EBUSY
    os.close(second)
    for each in (table, other):
        assert iommufd.destroy_errno(queue.id) == errno.EBUSY
        assert each.destroy_errno() == 0
    assert iommufd.destroy_errno(queue.id) == 0
    assert iommufd.destroy_errno(queue.id) == errno.ENOENT
    assert hwpt_alloc_errno(iommufd, bound.id, ioas, FAULT, fault=queue.id) == errno.ENOENT
    assert ioas.destroy_errno() == 0


@pytest.mark.promise("P9")
def test_a_queue_outlives_the_descriptor_of_its_iommufd():
    """Until it is closed too; the module's references and the memory come back, or oracles tell."""
    for closed_first in (True, False):
        with Iommufd() as iommufd, FaultQueue(iommufd) as queue:
            if closed_first:
                iommufd.close()
                assert queue.read() == b""
                assert queue.respond_errno(response(1)) == errno.EINVAL
            else:
                queue.close()


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_a_device_that_can_not_ask_for_pages_has_no_use_for_a_queue(faultless):
    """Whether it takes a page table with one, the header has no word of: then it is attached.

    Else it stays where it was. The queue stays empty either way.
    """
    bound, iommufd, cdev = faultless, faultless.iommufd, faultless.cdev
    ioas = iommufd.ioas_alloc()
    nested = FAULT | lib.IOMMU_HWPT_ALLOC_NEST_PARENT
    with FaultQueue(iommufd) as queue:
        answer = hwpt_alloc_errno(iommufd, bound.id, ioas, nested, fault=queue.id)
        assert answer == errno.EOPNOTSUPP
        table = with_queue(bound, ioas, queue)
        plain = hwpt_alloc(iommufd, bound.id, iommufd.ioas_alloc())
        for attached in (False, True):
            if attached:
                cdev.attach(plain)
            if cdev.attach_errno(table):
                assert plain.destroy_errno() == (errno.EBUSY if attached else 0)
            else:
                assert table.destroy_errno() == errno.EBUSY
                assert plain.destroy_errno() == 0
                cdev.detach()
            if not attached:
                plain = hwpt_alloc(iommufd, bound.id, iommufd.ioas_alloc())
        assert table.destroy_errno() == 0
        assert ioas.destroy_errno() == 0
        assert queue.polled() == select.POLLOUT


@pytest.mark.promise("P7")
@pytest.mark.parametrize("of", ["the same address space", "another one"])
def test_a_replacement_that_is_refused_leaves_the_usable_iovas(faultless, of):
    """What the device reserves, it still may not be given while it is attached."""
    bound, iommufd, cdev = faultless, faultless.iommufd, faultless.cdev
    ioas = iommufd.ioas_alloc()
    other = iommufd.ioas_alloc() if of == "another one" else ioas
    with FaultQueue(iommufd) as queue:
        table = with_queue(bound, other, queue)
        cdev.attach(ioas)
        before = ioas.iova_ranges(), other.iova_ranges()
        if not cdev.attach_errno(table):
            raise Unsupported(f"the IOMMU of {bound.path.name} takes a page table with a queue")
        assert (ioas.iova_ranges(), other.iova_ranges()) == before
        first, _ = reserved_iovas(bound.path)[0]
        with memory() as ours:
            assert ioas.map_dma_errno(first, ours.vaddr, PAGE) == errno.EINVAL


@pytest.mark.promise("P7")
def test_a_queue_that_can_not_be_told_of_is_none():
    """EMFILE without a free descriptor, EFAULT without room for the answer."""
    with Iommufd() as iommufd:
        free = iommufd.ioas_alloc()
        free.destroy()
        opened = names_in(Path("/proc/self/fd"))
        with no_free_descriptor():
            answers = [errno_of(FaultQueue)(iommufd) for _ in range(3)]
        assert answers == [errno.EMFILE] * 3
        with readable_only(struct("iommu_fault_alloc")) as argument:
            for _ in range(3):
                _, answer = ioctl_errno(iommufd.fileno(), "IOMMU_FAULT_QUEUE_ALLOC", argument)
                assert answer == errno.EFAULT
        assert names_in(Path("/proc/self/fd")) == opened
        with FaultQueue(iommufd) as queue:
            assert queue.id == free.id


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_no_virtual_iommu_is_made_of_a_page_table_that_is_no_parent(bound):
    """EOPNOTSUPP where the driver has none at all, EINVAL where it has, as AMD's.

    Where there is none there are no devices, events and queues of it (ENOENT).
    """
    iommufd, devid = bound.iommufd, bound.id
    need(iommufd, *VIRTUAL)
    ioas = iommufd.ioas_alloc()
    table = hwpt_alloc(iommufd, devid, ioas)
    of_none = viommu_alloc_errno(iommufd, lib.IOMMU_VIOMMU_TYPE_DEFAULT, devid, table)
    assert of_none == errno.EOPNOTSUPP
    amd = (bound.path / "iommu" / "amd-iommu").is_dir()
    legal = {errno.EOPNOTSUPP, errno.EINVAL} if amd else {errno.EOPNOTSUPP}
    answers = set()
    for kind in (
        lib.IOMMU_VIOMMU_TYPE_ARM_SMMUV3,
        lib.IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV,
        0xFFFF,
    ):
        for data in (b"", bytes(16)):
            answers.add(viommu_alloc_errno(iommufd, kind, devid, table, data))
    assert answers <= legal
    assert len(answers) == 1
    for viommu in (NOBODY, table, ioas, devid):
        assert vdevice_alloc_errno(iommufd, viommu, devid, 1) == errno.ENOENT
        for kind in EVENTS:
            answer = errno_of(EventQueue)(iommufd, viommu, kind, 16)
            assert answer == errno.ENOENT or (answer == errno.EOPNOTSUPP and kind == RESERVED)
        for kind in QUEUES:
            answer = hw_queue_alloc_errno(iommufd, viommu, kind, 0, PAGE, PAGE)
            assert answer == errno.ENOENT or (answer == errno.EOPNOTSUPP and kind == RESERVED)
    assert table.destroy_errno() == 0
    new = hwpt_alloc(iommufd, devid, ioas)
    assert new.id == table.id
