"""This file checks that a device which is pulled out is first given up by its owner (P1 to P4).

The remover is the kernel itself, or who switches the slot off; to VFIO it is an unbind that nobody
can take back. Source: linux/vfio.h, VFIO_PCI_REQ_IRQ_INDEX; Documentation/PCI/acpi-info.rst;
Documentation/ABI/testing/sysfs-bus-pci, remove and rescan.
"""

import errno
import time
from pathlib import Path

import pytest

from tests_hw.hotplug.conftest import GONE, in_slot
from vfio_hw.host.blocking import BlockingWrite, write_with_deadline
from vfio_hw.host.pci import BUS
from vfio_hw.host.plugging import Plugged
from vfio_hw.host.sysfs import attribute, names_in
from vfio_hw.uapi import lib
from vfio_hw.vfio.descriptor import errno_of, open_node
from vfio_hw.vfio.dma import accounted, first_iova, memory
from vfio_hw.vfio.irq import armed
from vfio_hw.vfio.names import NODES, cdev_path, group_path
from vfio_hw.vfio.opened import opened

pytestmark = pytest.mark.machine("hot-plug")

MODES = ["vfio_type1v2_iommu", "iommufd"]
PROMPT, WATCHED = 5.0, 0.5


def nodes() -> tuple[list[str], list[str]]:
    return names_in(NODES), names_in(NODES / "devices")


def switch_of(plugged: Plugged) -> Path:
    """What switches the slot of the device off."""
    where = plugged.function.address.partition(".")[0]
    slots = Path("/sys/bus/pci/slots")
    return next(each / "power" for each in slots.iterdir() if attribute(each / "address") == where)


@pytest.mark.promise("P4")
def test_it_comes_with_its_nodes_and_goes_with_them(qmp):
    """As often as it is plugged in."""
    before = nodes()
    for _ in range(3):
        with in_slot(qmp, "e1000e") as plugged:
            node, group = cdev_path(plugged.function.path), group_path(plugged.function.path)
            assert node.is_char_device()
            assert group.is_char_device()
            with opened(plugged.function.path, "iommufd") as user:
                assert user.device.info_errno() == 0
        assert nodes() == before


@pytest.mark.promise("P1")
@pytest.mark.promise("P2")
@pytest.mark.parametrize("mode", MODES)
def test_pulling_it_out_asks_its_owner_and_waits_for_him(plugged: Plugged, mode):
    """He is asked at once, it works until he closes it, and then it goes at once."""
    function, before = plugged.function, accounted()
    node = cdev_path(function.path)
    with (
        memory() as ours,
        opened(function.path, mode) as user,
        armed(user.device, lib.VFIO_PCI_REQ_IRQ_INDEX) as [request],
    ):
        user.iommu.map_dma(first_iova(user.iommu), ours.vaddr, ours.size)
        plugged.pull()
        assert request.wait(PROMPT) == 1
        assert request.silent(WATCHED)
        assert function.exists
        assert plugged.there
        assert user.device.config().get(0, 2) == function.vendor
        assert errno_of(open_node)(node) in GONE
        user.device.close()
        if user.group:
            user.group.close()
        closed = time.monotonic()
        plugged.must_go()
        assert time.monotonic() - closed < PROMPT
    assert accounted() == before


@pytest.mark.promise("P1")
@pytest.mark.promise("P2")
@pytest.mark.parametrize("mode", MODES)
def test_switching_the_slot_off_waits_for_the_owner(plugged: Plugged, mode):
    function = plugged.function
    with (
        opened(function.path, mode) as user,
        armed(user.device, lib.VFIO_PCI_REQ_IRQ_INDEX) as [request],
        BlockingWrite(switch_of(plugged), "0") as off,
    ):
        assert request.wait(PROMPT) == 1
        assert off.wait(WATCHED) is None
        assert user.device.config().get(0, 2) == function.vendor
        user.device.close()
        off.must_return(PROMPT)
    assert not function.exists


@pytest.mark.promise("P1")
@pytest.mark.promise("P3")
def test_it_is_taken_off_the_bus_and_found_again(plugged: Plugged):
    """By sysfs: the device stays in its slot, and is as new when it comes back."""
    function = plugged.function
    with (
        opened(function.path, "iommufd") as user,
        armed(user.device, lib.VFIO_PCI_REQ_IRQ_INDEX) as [request],
        BlockingWrite(function.path / "remove", "1") as removal,
    ):
        assert request.wait(PROMPT) == 1
        assert removal.wait(WATCHED) is None
        user.device.close()
        removal.must_return(PROMPT)
        assert not function.exists
        assert plugged.there
    write_with_deadline(BUS / "rescan", "1", PROMPT)
    assert function.exists
    assert function.driver != "vfio-pci"
    assert function.driver_override is None


@pytest.mark.promise("P1")
@pytest.mark.promise("P4")
def test_a_group_that_was_kept_is_harmless_when_its_device_was_pulled_out(plugged: Plugged):
    """Its container has no group and with that no IOMMU any more."""
    address = plugged.function.address
    with opened(plugged.function.path, "vfio_type1v2_iommu") as user, memory() as ours:
        iova = first_iova(user.iommu)
        user.iommu.map_dma(iova, ours.vaddr, ours.size)
        user.iommu.unmap_dma(iova, ours.size)
        user.device.close()
        plugged.pull()
        plugged.must_go()
        assert user.group.device_errno(address) == errno.ENODEV
        assert user.container.map_dma_errno(iova, ours.vaddr, ours.size) == errno.EINVAL
