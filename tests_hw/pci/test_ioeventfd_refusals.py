"""This file checks where no ioeventfd is, and how many there are (P8, P7).

Source: linux/vfio.h, VFIO_DEVICE_IOEVENTFD: BARs without the MSI-X table.
"""

import errno

import pytest

from vfio_hw.devices.e1000e import MULTICAST
from vfio_hw.fixtures import Target
from vfio_hw.uapi import lib
from vfio_hw.vfio import config
from vfio_hw.vfio.eventfd import EventFd
from vfio_hw.vfio.ioeventfd import (
    WIDTHS,
    assign_errno,
    deassign,
    set_ioeventfd_errno,
)
from vfio_hw.vfio.opened import opened
from vfio_hw.vfio.region import outside

MODE = "vfio_type1v2_iommu"
BAR0 = lib.VFIO_PCI_BAR0_REGION_INDEX
ROM = lib.VFIO_PCI_ROM_REGION_INDEX
CONFIG = lib.VFIO_PCI_CONFIG_REGION_INDEX
# Nobody assigns more than this, whatever the limit is.
PLENTY = 1 << 16


@pytest.mark.promise("P8")
def test_only_bytes_of_a_bar_are_written(pci_device: Target):
    """Neither behind its end nor across it, nor in a BAR that is not there, nor anywhere else."""
    with opened(pci_device.path, MODE) as user, EventFd() as eventfd:
        device, fd = user.device, eventfd.fileno()
        bars = [device.region(index) for index in range(ROM)]
        others = [device.region(index) for index in (ROM, CONFIG)]
        starts = [region.offset for region in others if region.size]
        for width, flag in WIDTHS.items():
            nowhere = outside(bars, width, end=2**64)
            across = [bar.offset + bar.size - width + 1 for bar in bars if bar.size and width > 1]
            assert nowhere
            for offset in (*nowhere, *across, *starts):
                answer = set_ioeventfd_errno(device, flag, offset, 0, fd)
                assert answer == errno.EINVAL, f"{width} at {offset:#x}"
        last = bars[BAR0].size - 4
        assert assign_errno(device, bars[BAR0], last, 4, 0, eventfd) == 0


@pytest.mark.promise("P8")
def test_the_msi_x_table_is_not_written(nic):
    """Where it is, the capability says; a write that touches one byte of it is refused."""
    device, _ = nic
    space = device.config()
    capability = space.capability(config.CAPABILITY_MSIX)
    place = space.get(capability + 4, 4)
    size = 16 * ((space.get(capability + 2, 2) & 0x7FF) + 1)
    bar, first = device.region(place & 7), place & ~7
    with EventFd() as eventfd:
        for width in WIDTHS:
            touching = range(max(0, first - width + 1), first + size)
            for at in touching:
                assert assign_errno(device, bar, at, width, 0, eventfd) == errno.EINVAL
            assert assign_errno(device, bar, first + size, width, 0, eventfd) == 0
            if first >= width:
                assert assign_errno(device, bar, first - width, width, 0, eventfd) == 0


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_there_is_a_limit_and_what_is_taken_away_makes_room(nic):
    """ENOSPC; and all that are assigned go with the device file."""
    device, bar = nic
    with EventFd() as eventfd:
        answers = (assign_errno(device, bar, MULTICAST, 4, data, eventfd) for data in range(PLENTY))
        taken, answer = next((at, each) for at, each in enumerate(answers) if each)
        assert answer == errno.ENOSPC
        assert taken >= 1
        for _ in range(2):
            assert assign_errno(device, bar, MULTICAST, 4, taken, eventfd) == errno.ENOSPC
            assert assign_errno(device, bar, MULTICAST, 4, 0, eventfd) == errno.EEXIST
            deassign(device, bar, MULTICAST, 4, 0)
            assert assign_errno(device, bar, MULTICAST, 4, 0, eventfd) == 0


@pytest.mark.promise("P8")
@pytest.mark.parametrize("kind", ["mtty", "mdpy", "mbochs"])
def test_a_mediated_device_has_no_ioeventfds(request, kind):
    with opened(request.getfixturevalue(kind).path, MODE) as user, EventFd() as eventfd:
        for flag in WIDTHS.values():
            assert set_ioeventfd_errno(user.device, flag, 0, 0, eventfd.fileno()) == errno.ENOTTY
