"""A device in use, closed one file at a time, with its removal somewhere in between.

What is left does what it can at each point, and no more. Source: vfio_unregister_group_dev() and
vfio_device_remove_group(); Documentation/driver-api/vfio.rst; of KVM,
Documentation/virt/kvm/devices/vfio.rst.
"""

import contextlib
import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests_hw.lifecycle.conftest import must_begin
from vfio_hw.devices import mtty as serial
from vfio_hw.devices.edu_dma import engine
from vfio_hw.fixtures import Target
from vfio_hw.host.binding import free
from vfio_hw.host.blocking import BlockingWrite
from vfio_hw.host.pci import PciFunction
from vfio_hw.uapi import lib
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.config import VENDOR
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.descriptor import Descriptor, errno_of
from vfio_hw.vfio.dma import PAGE, Memory, first_iova, memory
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.group import Group, GroupStatus
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.kvm import KvmVfio, Vm
from vfio_hw.vfio.names import cdev_path
from vfio_hw.vfio.opened import Opened, opened

PROMPT, WATCHED = 5.0, 0.1
WORDS = 8
REMOVAL = "removal"
USED = GroupStatus(viable=True, container_set=True)


@dataclass(frozen=True)
class Mode:
    """How a device is opened: what of it is open, and what of that keeps its group, or itself.

    ``names``: what is open. ``group``: each keeps the group from being opened anew. ``device``: the
    removal waits for each.
    """

    names: tuple[str, ...]
    group: frozenset[str]
    device: frozenset[str] = frozenset({"device"})


_DEVICE = frozenset({"device"})
MODES = {
    "vfio_type1v2_iommu": Mode(("group", "container", "device"), _DEVICE | {"group"}),
    "iommufd_compat_type1v2": Mode(("group", "iommufd", "device"), frozenset({"group"})),
    "iommufd": Mode(("iommufd", "device"), _DEVICE),
}
#: KVM holds the file that it was told of: a group, which no removal waits for, or a device.
MODES_OF_KVM = {
    "vfio_type1v2_iommu": Mode(("group", "container", "device", "kvm"), _DEVICE | {"group", "kvm"}),
    "iommufd": Mode(("iommufd", "device", "kvm"), _DEVICE | {"kvm"}, _DEVICE | {"kvm"}),
}


@dataclass
class Use:
    """A device in use, and how far it is: ``left`` is open, ``removal`` has begun, or is over.

    ``bridge`` is KVM's, which knows the file that the device was opened through.
    """

    target: Target
    mode: Mode
    user: Opened
    works: Callable[[int], None]
    spare: tuple[int, int, int]
    removal: BlockingWrite
    bridge: KvmVfio | None = None
    vm: Vm | None = None
    group: int = field(init=False)
    node: Path = field(init=False)
    left: set[str] = field(init=False)
    begun: bool = False

    def __post_init__(self) -> None:
        self.group, self.node = self.target.iommu_group, cdev_path(self.target.path)
        self.left = set(self.mode.names)

    @property
    def over(self) -> bool:
        """It waited for the file of the device alone, and for who holds that."""
        return self.begun and not self.left & self.mode.device

    def step(self, name: str) -> None:
        """Close one, or begin with the removal, which must be back as soon as it may."""
        if name == REMOVAL:
            self.removal.start()
            self.begun = True
        else:
            self._file(name).close()
            self.left.remove(name)
        if self.over:
            self.removal.must_return(PROMPT)
        elif name == REMOVAL:
            must_begin(self.removal, self.node, PROMPT)

    def judge(self, order: Sequence[str]) -> None:
        """Each close of ``order``, and the removal in it; after each, all that is left."""
        self.check(0)
        for number, name in enumerate(order, 1):
            self.step(name)
            self.check(number)

    def _file(self, name: str) -> Descriptor:
        files: dict[str, Descriptor | None] = {
            "group": self.user.group,
            "container": self.user.container,
            "iommufd": self.user.iommufd,
            "device": self.user.device,
            "kvm": self.bridge,
        }
        file = files[name]
        assert file
        return file

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
        if self.vm:
            self._kvm(self.vm)
        anew = errno.ENOENT if self.over else errno.EBUSY if self.left & self.mode.group else 0
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
        in_container = not self.over and self.left & self.mode.group
        if "iommufd" in self.left or ("container" in self.left and in_container):
            iommu.map_dma(*self.spare)
            assert iommu.unmap_dma(self.spare[0], PAGE) == PAGE
        elif "container" in self.left:
            assert iommu.map_dma_errno(*self.spare) == errno.EINVAL
            assert iommu.unmap_dma_errno(self.spare[0], PAGE) == errno.EINVAL

    def _kvm(self, vm: Vm) -> None:
        """The device keeps its VM, and its VFIO device does; that knows the file until it goes."""
        if not self.left & {"device", "kvm"}:
            vm.must_end(PROMPT)
            return
        assert vm.alive
        told = self._file("group" if "group" in self.mode.names else "device")
        if "kvm" in self.left and self.bridge:
            if told.closed:
                with EventFd() as other:
                    assert self.bridge.add_errno(other) == errno.EINVAL
            else:
                assert self.bridge.add_errno(told) == errno.EEXIST


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


@contextlib.contextmanager
def _opened_for_kvm(target: Target, mode: str, bridge: KvmVfio) -> Iterator[Opened]:
    """As opened(), of a file that KVM has been told of before."""
    if mode == "iommufd":
        with Iommufd() as iommufd, Cdev(target.path) as cdev:
            bridge.add(cdev)
            cdev.bind_iommufd(iommufd)
            ioas = iommufd.ioas_alloc()
            cdev.attach(ioas)
            yield Opened(cdev, ioas, cdev=cdev, iommufd=iommufd)
    else:
        with Container() as container, Group(target.iommu_group) as group:
            bridge.add(group)
            group.set_container(container)
            container.set_iommu(lib.VFIO_TYPE1v2_IOMMU)
            with group.device(target.name) as device:
                yield Opened(device, container, group=group, container=container)


@contextlib.contextmanager
def using(target: Target, mode: str, vm: Vm | None = None) -> Iterator[Use]:
    """The device is open, alone in its group, with DMA mapped; after it nothing is.

    :param mode: of :data:`MODES`, or of :data:`MODES_OF_KVM` with a ``vm``, which is closed here:
        its VFIO device and the device have it.
    """
    others = target.handle.siblings() if isinstance(target.handle, PciFunction) else []
    with contextlib.ExitStack() as stack:
        stack.enter_context(free(*others))  # the group is VFIO's as long as one of it is
        ours = stack.enter_context(memory(2 * PAGE))
        if vm:
            bridge = stack.enter_context(vm.vfio())
            user = stack.enter_context(_opened_for_kvm(target, mode, bridge))
            vm.close()
        else:
            bridge, user = None, stack.enter_context(opened(target.path, mode))
        base = first_iova(user.iommu, 3 * PAGE)
        user.iommu.map_dma(base, ours.vaddr, 2 * PAGE)
        removal = target.removal()
        stack.push(removal)
        yield Use(
            target,
            (MODES_OF_KVM if vm else MODES)[mode],
            user,
            worker(target, user, ours, base),
            (base + 2 * PAGE, ours.vaddr, PAGE),
            removal,
            bridge,
            vm,
        )
