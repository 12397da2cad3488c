"""This file checks that VFIO_DEVICE_RESET resets, and what its user still has after it (P8).

What must have gone is what the PCI specification says a reset undoes: PCI Local Bus Specification
3.0, 6.8.2.9, a vector of MSI-X is masked after it.
"""

import contextlib
import errno
import signal
from collections.abc import Iterator

import pytest

from vfio_hw.devices.e1000e import MULTICAST
from vfio_hw.devices.edu import fetch, store
from vfio_hw.devices.kinds import need_features
from vfio_hw.host.touch import touched
from vfio_hw.uapi import lib
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.config import CAPABILITY_MSIX, COMMAND, COMMAND_MASTER
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.dma import PAGE, first_iova, mapped
from vfio_hw.vfio.dmabuf import export
from vfio_hw.vfio.opened import opened

MODES = ["vfio_type1v2_iommu", "iommufd"]
BAR0 = lib.VFIO_PCI_BAR0_REGION_INDEX
RESETS = lib.VFIO_DEVICE_FLAGS_RESET
# Source: linux/pci_regs.h.
COMMAND_MEMORY, HEADER = 1 << 1, 64
MSIX_FLAGS, MSIX_QSIZE, MSIX_TABLE, MSIX_BAR = 2, 0x07FF, 4, 0x7
ENTRY_WORDS, ENTRY_CONTROL, MASKED = 4, 3, 1 << 0
# Of e1000e, 4 bytes that a reset clears: TDBAL (Intel 82574 datasheet, register descriptions).
SCRATCH, WRITTEN = 0x3800, 0x12345670
PATTERN = 0x5EED1234


@contextlib.contextmanager
def last_vector(device: Device) -> Iterator[memoryview]:
    """The entry of the last vector in the MSI-X table, mapped: four registers of 4 bytes.

    Nothing is armed, so that it sends nothing, masked or not.
    """
    space = device.config()
    msix = space.capability(CAPABILITY_MSIX)
    vectors = (space.get(msix + MSIX_FLAGS, 2) & MSIX_QSIZE) + 1
    where = space.get(msix + MSIX_TABLE, 4)
    offset = (where & ~MSIX_BAR) + (vectors - 1) * ENTRY_WORDS * 4
    table = device.region(where & MSIX_BAR)
    with table.mmapped(offset & -PAGE, PAGE) as page, memoryview(page).cast("I") as words:
        first = offset % PAGE // 4
        with words[first : first + ENTRY_WORDS] as entry:
            yield entry


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["e1000e", "nvme"])
def test_a_reset_undoes_what_was_written_and_keeps_config_space_and_mappings(request, kind, mode):
    """The first of reset_method is how the kernel resets it.

    By power management, the way of e1000e here, a function need not forget anything: QEMU's do not.
    """
    function = request.getfixturevalue(kind)
    forgets = (function.path / "reset_method").read_text().split()[0] == "flr"
    assert forgets or kind == "e1000e", "a function level reset is in the specification of NVMe"
    with opened(function.path, mode) as user:
        device, space, bar = user.device, user.device.config(), user.device.region(BAR0)
        assert device.info().flags & RESETS
        space.put(COMMAND, 2, space.get(COMMAND, 2) | COMMAND_MASTER | COMMAND_MEMORY)
        seen, shown = space.region.read(0, HEADER), bar.get(0, 4)
        with (
            bar.mmapped(0, PAGE) as window,
            memoryview(window).cast("I") as registers,
            last_vector(device) as entry,
        ):
            for _ in range(2):
                assert touched(registers) == 0
                entry[ENTRY_CONTROL] = 0
                assert not entry[ENTRY_CONTROL] & MASKED
                if kind == "e1000e":
                    bar.put(SCRATCH, 4, WRITTEN)
                    assert bar.get(SCRATCH, 4) == WRITTEN
                device.reset()
                assert space.region.read(0, HEADER) == seen
                assert touched(registers) == 0
                assert registers[0] == bar.get(0, 4) == shown
                if forgets:
                    assert entry[ENTRY_CONTROL] & MASKED, "the function was not reset"
                if forgets and kind == "e1000e":
                    assert bar.get(SCRATCH, 4) == 0, "the function was not reset"


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["e1000e", "nvme"])
def test_memory_that_was_disabled_is_disabled_after_a_reset(request, kind, mode):
    """And a mapping faults as before, until the user enables it."""
    function = request.getfixturevalue(kind)
    with opened(function.path, mode) as user:
        space, bar = user.device.config(), user.device.region(BAR0)
        shown, enabled = bar.get(0, 4), space.get(COMMAND, 2) | COMMAND_MEMORY
        with bar.mmapped(0, PAGE) as window, memoryview(window).cast("I") as registers:
            assert touched(registers) == 0
            space.put(COMMAND, 2, enabled & ~COMMAND_MEMORY)
            user.device.reset()
            assert not space.get(COMMAND, 2) & COMMAND_MEMORY
            assert touched(registers) == signal.SIGBUS
            space.put(COMMAND, 2, enabled)
            assert touched(registers) == 0
            assert registers[0] == shown


@pytest.mark.promise("P8")
def test_a_refused_reset_changes_nothing(edu):
    with opened(edu.path, MODES[0]) as user:
        space, bar = user.device.config(), user.device.region(BAR0)
        assert not user.device.info().flags & RESETS
        space.put(COMMAND, 2, space.get(COMMAND, 2) | COMMAND_MASTER | COMMAND_MEMORY)
        seen = space.region.read(0, HEADER)
        with bar.mmapped(0, PAGE) as window, memoryview(window).cast("I") as registers:
            shown = registers[0]
            assert user.device.reset_errno() == errno.EINVAL
            assert touched(registers) == 0
            assert registers[0] == shown
        assert space.region.read(0, HEADER) == seen


@pytest.mark.promise("P8")
@pytest.mark.parametrize("enabled", [True, False], ids=["enabled", "disabled"])
def test_a_dma_buf_outlives_a_reset_while_memory_is_enabled(edu, e1000e, enabled):
    """A peer reads the BAR through it after the reset; without memory, once that is enabled."""
    page, at = MULTICAST & -PAGE, MULTICAST % PAGE
    with opened(edu.path, "iommufd") as importer, Cdev(e1000e.path) as cdev:
        ioas, registers = importer.iommu, importer.device.region(BAR0)
        importer.device.config().enable_master()
        cdev.bind_iommufd(importer.iommufd)
        need_features(cdev, "e1000e", "DMA_BUF")
        space, iova = cdev.config(), first_iova(ioas, 2 * PAGE)
        on = space.get(COMMAND, 2) | COMMAND_MEMORY
        with (
            mapped(ioas, PAGE, iova + PAGE) as (ours, target),
            export(cdev, BAR0, [(page, PAGE)]) as buffer,
        ):
            # One that is mapped while the reset takes the BAR away is unmapped as any other.
            ioas.map_file(iova, buffer, 0, PAGE)
            space.put(COMMAND, 2, on if enabled else on & ~COMMAND_MEMORY)
            cdev.reset()
            assert ioas.unmap_dma(iova, PAGE) == PAGE
            if not enabled:
                assert ioas.map_file_errno(iova, buffer, 0, PAGE) == errno.ENODEV
                space.put(COMMAND, 2, on)
            assert buffer.size == PAGE
            ioas.map_file(iova, buffer, 0, PAGE)
            cdev.region(BAR0).put(MULTICAST, 4, PATTERN)
            fetch(registers, iova + at, 4)
            store(registers, target, 4)
            assert int.from_bytes(ours.bytes[:4], "little") == PATTERN
            assert ioas.unmap_dma(iova, PAGE) == PAGE
