"""One way to open a device in each of the five IOMMU modes, and in the three without an IOMMU."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.uapi import lib
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.dma import Iommu
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.names import device_path, group_path

#: The modes that go through a group: what takes the container's part, and which Type1 it plays.
_GROUP_MODES: dict[str, tuple[Callable[[], Container], int]] = {
    "vfio_type1_iommu": (Container, lib.VFIO_TYPE1_IOMMU),
    "vfio_type1v2_iommu": (Container, lib.VFIO_TYPE1v2_IOMMU),
    "iommufd_compat_type1": (Iommufd, lib.VFIO_TYPE1_IOMMU),
    "iommufd_compat_type1v2": (Iommufd, lib.VFIO_TYPE1v2_IOMMU),
}
#: The same for a device that no IOMMU guards.
_NOIOMMU_GROUP_MODES: dict[str, tuple[Callable[[], Container], int]] = {
    "vfio_noiommu_iommu": (Container, lib.VFIO_NOIOMMU_IOMMU),
    "iommufd_compat_noiommu": (Iommufd, lib.VFIO_NOIOMMU_IOMMU),
}
IOMMU_MODES = (*_GROUP_MODES, "iommufd")
NOIOMMU_MODES = (*_NOIOMMU_GROUP_MODES, "iommufd")
_BY_GROUP = _GROUP_MODES | _NOIOMMU_GROUP_MODES


@dataclass(frozen=True)
class Opened:
    """A device that can be used at once, and everything that was opened for it.

    ``device`` is the ``cdev`` in the mode iommufd; ``container`` is the ``iommufd`` in the modes
    iommufd_compat_*. None is what the mode does without. In the modes without an IOMMU ``iommu``
    maps nothing, but for iommufd's, which remembers what it is told.
    """

    device: Device
    iommu: Iommu
    group: Group | None = None
    container: Container | None = None
    cdev: Cdev | None = None
    iommufd: Iommufd | None = None


@contextlib.contextmanager
def opened(device: str | Path, mode: str) -> Iterator[Opened]:
    """The device is open inside; after, device, group and container are closed in that order.

    :param device: a PCI address, an mdev's UUID, or the device's directory in sysfs.
    :param mode: one of :data:`IOMMU_MODES`, or of :data:`NOIOMMU_MODES`.
    :raises HarnessError: there is no such device, or mode.
    :raises Unsupported: the kernel has not what the mode needs.
    :raises KernelRefused: with the errno of the step that failed.
    """
    path = device_path(device)
    modes = (*_BY_GROUP, "iommufd")
    if mode not in modes:
        raise HarnessError(f"{mode} is no IOMMU mode: choose one of {', '.join(modes)}")
    with contextlib.ExitStack() as stack:
        if mode in _BY_GROUP:
            through = _through_group(stack, path, mode)
        else:
            through = _through_cdev(stack, path)
        # Before it mtty and mdpy refuse interrupts: docs/finds/mdev-interrupts-refused-at-first.md.
        through.device.info()
        yield through


def _through_group(stack: contextlib.ExitStack, path: Path, mode: str) -> Opened:
    kind, type1 = _BY_GROUP[mode]
    container = stack.enter_context(kind())
    group = stack.enter_context(Group(group_path(path).name))
    group.set_container(container)
    container.set_iommu(type1)
    device = stack.enter_context(group.device(path.name))
    iommufd = container if isinstance(container, Iommufd) else None
    return Opened(device, container, group=group, container=container, iommufd=iommufd)


def _through_cdev(stack: contextlib.ExitStack, path: Path) -> Opened:
    iommufd = stack.enter_context(Iommufd())
    cdev = stack.enter_context(Cdev(path))
    cdev.bind_iommufd(iommufd)
    ioas = iommufd.ioas_alloc()
    cdev.attach(ioas)
    return Opened(cdev, ioas, cdev=cdev, iommufd=iommufd)
