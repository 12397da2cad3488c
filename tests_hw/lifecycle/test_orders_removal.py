"""This file checks what is left to a user when a removal comes between his closes (P1, P3, P4).

It waits for the last device file, wherever in the order it begins, and for nothing else. Each
descriptor does until then what it did before, but open the device anew; after it a group says that
it is none, and a container has no IOMMU of it. Source: vfio_unregister_group_dev() and
vfio_device_remove_group(); Documentation/driver-api/vfio.rst.
"""

import contextlib
import errno
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests_hw.lifecycle.conftest import must_begin
from vfio_hw.devices import mtty as serial
from vfio_hw.devices.edu_dma import engine
from vfio_hw.fixtures import Target
from vfio_hw.host.binding import free
from vfio_hw.host.blocking import BlockingWrite
from vfio_hw.host.pci import PciFunction
from vfio_hw.uapi import lib
from vfio_hw.vfio.config import VENDOR
from vfio_hw.vfio.descriptor import Descriptor, errno_of
from vfio_hw.vfio.dma import PAGE, Memory, accounted, first_iova, memory
from vfio_hw.vfio.group import Group, GroupStatus
from vfio_hw.vfio.names import cdev_path
from vfio_hw.vfio.opened import Opened, opened

PROMPT, WATCHED = 5.0, 0.1
WORDS = 8
REMOVAL = "removal"
USED = GroupStatus(viable=True, container_set=True)
#: In each mode: what is closed, and which of it keeps the group from being opened anew.
MODES = {
    "vfio_type1v2_iommu": (("group", "container", "device"), {"group", "device"}),
    "iommufd_compat_type1v2": (("group", "iommufd", "device"), {"group"}),
    "iommufd": (("iommufd", "device"), {"device"}),
}
ORDERS = [
    pytest.param(mode, order, id=f"{mode}-{'-'.join(order)}")
    for mode, (names, _) in MODES.items()
    for order in itertools.permutations((*names, REMOVAL))
]


@dataclass
class Use:
    """A device in use, and how far it is: ``left`` is open, ``removal`` has begun, or is over."""

    target: Target
    mode: str
    user: Opened
    works: Callable[[int], None]
    spare: tuple[int, int, int]
    removal: BlockingWrite
    group: int = field(init=False)
    node: Path = field(init=False)
    left: set[str] = field(init=False)
    begun: bool = False

    def __post_init__(self) -> None:
        self.group, self.node = self.target.iommu_group, cdev_path(self.target.path)
        self.left = set(MODES[self.mode][0])

    @property
    def over(self) -> bool:
        """It waited for the device file alone."""
        return self.begun and "device" not in self.left

    def step(self, name: str) -> None:
        """Close one, or begin with the removal, which must be back as soon as it may."""
        if name == REMOVAL:
            self.removal.start()
            self.begun = True
        else:
            files: dict[str, Descriptor | None] = {
                "group": self.user.group,
                "container": self.user.container,
                "iommufd": self.user.iommufd,
                "device": self.user.device,
            }
            file = files[name]
            assert file
            file.close()
            self.left.remove(name)
        if self.over:
            self.removal.must_return(PROMPT)
        elif name == REMOVAL:
            must_begin(self.removal, self.node, PROMPT)

    def check(self, number: int) -> None:
        """All that is left does what it can at this point, and no more."""
        if self.begun and not self.over:
            assert self.removal.wait(WATCHED) is None, "removed while the device was open"
        assert self.node.exists() != self.begun, "the node is there as long as the device is"
        if "device" in self.left:
            self.works(number)
        if "group" in self.left:
            self._group()
        self._iommu()
        holders = self.left & MODES[self.mode][1]
        anew = errno.ENOENT if self.over else errno.EBUSY if holders else 0
        assert errno_of(Group)(self.group) == anew

    def _group(self) -> None:
        group = self.user.group
        assert group
        status = errno_of(group.status)()
        assert status == (errno.ENODEV if self.over else 0)
        assert status or group.status() == USED
        answer = group.device_errno(self.target.name)
        assert answer == (errno.ENODEV if self.begun else 0)

    def _iommu(self) -> None:
        """An address space is the iommufd's own; a container has its IOMMU from its group."""
        iommu = self.user.iommu
        if "iommufd" in self.left or ("container" in self.left and self._in_container):
            iommu.map_dma(*self.spare)
            assert iommu.unmap_dma(self.spare[0], PAGE) == PAGE
        elif "container" in self.left:
            assert iommu.map_dma_errno(*self.spare) == errno.EINVAL
            assert iommu.unmap_dma_errno(self.spare[0], PAGE) == errno.EINVAL

    @property
    def _in_container(self) -> bool:
        return not self.over and bool(self.left & {"group", "device"})


def worker(target: Target, user: Opened, ours: Memory, base: int) -> Callable[[int], None]:
    """What shows that the device works: config space, and DMA or bytes through the port."""
    device = user.device
    config, vendor = device.config(), device.config().get(VENDOR, 2)
    dma = engine(device) if target.kind == "edu" else None
    port = device.region(lib.VFIO_PCI_BAR0_REGION_INDEX)
    if not dma:
        serial.fifo(port)

    def works(number: int) -> None:
        assert config.get(VENDOR, 2) == vendor
        word = bytes([number + 1]) * WORDS
        if dma:
            ours.bytes[:WORDS] = word
            dma.copy(base, base + PAGE, WORDS)
            assert bytes(ours.bytes[PAGE : PAGE + WORDS]) == word
        else:
            serial.put(port, word)
            assert serial.got(port) == word

    return works


@pytest.mark.promise("P1")
@pytest.mark.promise("P3")
@pytest.mark.promise("P4")
@pytest.mark.parametrize("device", ["mtty", "edu"], indirect=True)
@pytest.mark.parametrize(("mode", "order"), ORDERS)
def test_a_removal_between_closes_waits_for_the_device_and_takes_nothing_else(
    device: Target, mode, order
):
    before = accounted()
    others = device.handle.siblings() if isinstance(device.handle, PciFunction) else []
    with contextlib.ExitStack() as stack:
        stack.enter_context(free(*others))  # the group is VFIO's as long as one of it is
        ours = stack.enter_context(memory(2 * PAGE))
        user = stack.enter_context(opened(device.path, mode))
        base = first_iova(user.iommu, 3 * PAGE)
        user.iommu.map_dma(base, ours.vaddr, 2 * PAGE)
        spare = (base + 2 * PAGE, ours.vaddr, PAGE)
        works = worker(device, user, ours, base)
        removal = device.removal()
        stack.push(removal)
        use = Use(device, mode, user, works, spare, removal)
        use.check(0)
        for number, name in enumerate(order, 1):
            use.step(name)
            use.check(number)
        assert accounted() == before
