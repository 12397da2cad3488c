"""This file checks that the dma-buf of a BAR shows nothing while the BAR may not be reached (P8).

IOMMU_IOAS_MAP_FILE tells, with ENODEV while it shows nothing, and so does a peer that reads through
it. Source: vfio_pci_dma_buf_move(), which is called where mappings of the BAR are taken away.
"""

import contextlib
import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests_hw.pci.hidden import BAR0, FOR_ANY, SWITCHES, map_errno, set_memory, set_power
from vfio_hw.devices.e1000e import MULTICAST
from vfio_hw.devices.edu import fetch, store
from vfio_hw.fixtures import Target
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.dma import PAGE, Memory, first_iova, mapped
from vfio_hw.vfio.dmabuf import DmaBuf, export
from vfio_hw.vfio.feature import (
    enter_low_power,
    enter_low_power_errno,
    enter_low_power_once_errno,
    exit_low_power,
)
from vfio_hw.vfio.hot_reset import hot_reset
from vfio_hw.vfio.opened import Opened, opened
from vfio_hw.vfio.region import Region

MODE = "iommufd"
# What is written to a register, to be read through the buffer.
PATTERN = 0x5EED1234
# What edu has read before it reads what is hidden.
OTHER = b"\xa5\x5a\x3c\xc3"


def assert_hidden_and_shown_again(device: Target, switch: Callable[[Device, bool], None]) -> None:
    """What was mapped when it was hidden is unmapped as before."""
    with opened(device.path, MODE) as user, export(user.device, BAR0, [(0, PAGE)]) as buffer:
        iova = first_iova(user.iommu)
        for _ in range(2):
            user.iommu.map_file(iova, buffer, 0, PAGE)
            switch(user.device, False)
            for _ in range(2):
                assert map_errno(user, buffer) == errno.ENODEV
            assert buffer.size == PAGE
            switch(user.device, True)
            assert map_errno(user, buffer) == 0
            assert user.iommu.unmap_dma(iova, PAGE) == PAGE


@pytest.mark.promise("P8")
@pytest.mark.parametrize("how", FOR_ANY)
def test_a_dma_buf_shows_nothing_while_its_bar_may_not_be_reached(exporter: Target, how):
    assert_hidden_and_shown_again(exporter, SWITCHES[how])


@pytest.mark.promise("P8")
def test_a_dma_buf_shows_nothing_while_its_function_is_in_d3(nic_exporter):
    assert_hidden_and_shown_again(nic_exporter, set_power)


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    ("undone", "left"),
    [("COMMAND", "D3hot"), ("D3hot", "COMMAND"), ("LOW_POWER_ENTRY", "COMMAND")],
)
def test_a_dma_buf_that_is_hidden_twice_is_shown_when_both_are_undone(nic_exporter, undone, left):
    with opened(nic_exporter.path, MODE) as user, export(user.device, BAR0, [(0, PAGE)]) as buffer:
        for name in (left, undone):
            SWITCHES[name](user.device, False)
        assert map_errno(user, buffer) == errno.ENODEV
        SWITCHES[undone](user.device, True)
        assert map_errno(user, buffer) == errno.ENODEV
        SWITCHES[left](user.device, True)
        assert map_errno(user, buffer) == 0


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_a_refused_entry_to_low_power_neither_hides_nor_shows(exporter: Target):
    with opened(exporter.path, MODE) as user, export(user.device, BAR0, [(0, PAGE)]) as buffer:
        assert enter_low_power_once_errno(user.device, -1) == errno.EINVAL
        assert map_errno(user, buffer) == 0
        enter_low_power(user.device)
        assert enter_low_power_errno(user.device) == errno.EINVAL
        assert map_errno(user, buffer) == errno.ENODEV
        exit_low_power(user.device)
        assert map_errno(user, buffer) == 0


@dataclass(frozen=True)
class Peer:
    """An edu that reads a register of another function's BAR through a dma-buf."""

    user: Opened
    registers: Region
    buffer: DmaBuf
    ours: Memory
    iova: int
    target: int
    at: int

    def reads(self) -> int:
        """What it reads there now; what it read before when the IOMMU stops it."""
        fetch(self.registers, self.iova + self.at, 4)
        store(self.registers, self.target, 4)
        return int.from_bytes(self.ours.bytes[:4], "little")

    def reads_not(self, value: int) -> None:
        """What it reads there now is not ``value``, nor what it has read before."""
        self.ours.bytes[:4] = OTHER
        fetch(self.registers, self.target, 4)
        assert self.reads() != value

    def maps(self) -> None:
        self.user.iommu.map_file(self.iova, self.buffer, 0, PAGE)

    def unmaps(self) -> None:
        assert self.user.iommu.unmap_dma(self.iova, PAGE) == PAGE


@contextlib.contextmanager
def peer_of(importer: Opened, cdev: Cdev, register: int) -> Iterator[Peer]:
    """The device of ``cdev`` is bound to the importer's iommufd, and exports the page."""
    importer.device.config().enable_master()
    cdev.bind_iommufd(importer.iommufd)
    iova, page = first_iova(importer.iommu, 3 * PAGE), register & -PAGE
    with (
        mapped(importer.iommu, PAGE, iova + 2 * PAGE) as (ours, target),
        export(cdev, BAR0, [(page, PAGE)]) as buffer,
    ):
        bar = importer.device.region(BAR0)
        yield Peer(importer, bar, buffer, ours, iova, target, register - page)


@pytest.mark.promise("P8")
@pytest.mark.iommu_faults("edu")
@pytest.mark.parametrize("how", SWITCHES)
def test_a_peer_reads_no_bar_that_may_not_be_reached(edu, nic_exporter, how):
    """Its mapping is there and shows nothing: the IOMMU reports it. A new one shows the BAR."""
    with (
        opened(edu.path, MODE) as importer,
        Cdev(nic_exporter.path) as cdev,
        peer_of(importer, cdev, MULTICAST) as peer,
    ):
        for value in (PATTERN, ~PATTERN & 0xFFFFFFFF):
            cdev.region(BAR0).put(MULTICAST, 4, value)
            peer.maps()
            assert peer.reads() == value
            SWITCHES[how](cdev, False)
            peer.reads_not(value)
            SWITCHES[how](cdev, True)
            peer.unmaps()


@pytest.mark.promise("P8")
@pytest.mark.iommu_faults("edu")
def test_a_hot_reset_takes_a_bar_from_a_peer_and_gives_its_dma_buf_back(edu, bus_exporter):
    """It is mapped anew, but where memory was disabled before: the reset keeps that."""
    with (
        opened(edu.path, MODE) as importer,
        Cdev(bus_exporter.path) as cdev,
        peer_of(importer, cdev, 0) as peer,
    ):
        identity = cdev.region(BAR0).get(0, 4)
        for _ in range(2):
            peer.maps()
            assert peer.reads() == identity
            hot_reset(cdev)
            peer.reads_not(identity)
            peer.unmaps()
            assert map_errno(importer, peer.buffer) == 0
        set_memory(cdev, False)
        hot_reset(cdev)
        assert map_errno(importer, peer.buffer) == errno.ENODEV
        set_memory(cdev, True)
        assert map_errno(importer, peer.buffer) == 0
