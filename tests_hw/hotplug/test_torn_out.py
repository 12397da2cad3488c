"""This file checks that a device which is gone without a word is let go by its owner (P1 to P3).

The kernel hears of it when the slot is empty already. Its owner is asked all the same, and until he
closes it what he holds is harmless. Source: linux/vfio.h, VFIO_PCI_REQ_IRQ_INDEX;
Documentation/PCI/pci.rst.
"""

import contextlib
import errno
import time

import pytest

from tests_hw.hotplug.conftest import GONE, in_slot
from vfio_hw.errors import KernelRefused
from vfio_hw.host.hypervisor import Hypervisor
from vfio_hw.host.plugging import Plugged
from vfio_hw.uapi import lib
from vfio_hw.vfio.descriptor import errno_of, open_node
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.dma import accounted, first_iova, memory
from vfio_hw.vfio.irq import armed
from vfio_hw.vfio.names import cdev_path
from vfio_hw.vfio.opened import opened

pytestmark = pytest.mark.machine("native-hot-plug")

MODES = ["vfio_type1v2_iommu", "iommufd"]
PROMPT, WATCHED = 5.0, 0.5
CLASS_REVISION = 0x08  # of those that VFIO does not keep itself.  Source: linux/pci_regs.h


def silent(device: Device) -> bool:
    """Its registers are read as if nobody were there, or not read at all."""
    with contextlib.suppress(KernelRefused):
        return device.config().get(CLASS_REVISION, 4) == 0xFFFFFFFF
    return True


@pytest.mark.promise("P1")
@pytest.mark.promise("P2")
@pytest.mark.promise("P3")
@pytest.mark.parametrize("mode", MODES)
def test_the_owner_of_a_device_that_was_torn_out_is_asked_and_waited_for(
    plugged: Plugged, mode, record_property
):
    """He is asked at once and once, and his close ends the wait at once; nothing stays pinned."""
    function, before = plugged.function, accounted()
    node = cdev_path(function.path)
    with (
        memory() as ours,
        opened(function.path, mode) as user,
        armed(user.device, lib.VFIO_PCI_REQ_IRQ_INDEX) as [request],
    ):
        user.iommu.map_dma(first_iova(user.iommu), ours.vaddr, ours.size)
        assert not silent(user.device)
        torn_at = time.monotonic()
        plugged.tear_out()
        assert request.wait(PROMPT) == 1
        record_property("request_ms", round((time.monotonic() - torn_at) * 1000, 2))
        assert request.silent(WATCHED)
        assert not plugged.there
        assert function.exists, "the kernel did not wait for the owner"
        assert silent(user.device)
        # The kernel has locked the device until it is gone: pci_try_reset_function().
        assert user.device.reset_errno() in (errno.EAGAIN, errno.ENOTTY)
        assert errno_of(open_node)(node) in GONE
        user.device.close()
        if user.group:
            user.group.close()
        closed = time.monotonic()
        plugged.must_go()
        assert time.monotonic() - closed < PROMPT
    assert accounted() == before


@pytest.mark.promise("P3")
@pytest.mark.promise("P4")
def test_the_slot_takes_another_device_after_one_was_torn_out(qmp: Hypervisor):
    """Nobody had the first one open: it goes by itself."""
    for _ in range(2):
        with in_slot(qmp, "e1000e") as one:
            with opened(one.function.path, "iommufd") as user:
                assert not silent(user.device)
            one.tear_out()
            one.must_go()
