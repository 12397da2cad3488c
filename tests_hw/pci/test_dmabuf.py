"""This file checks BARs as dma-bufs: what is exported, how long it lives, what is refused."""

import contextlib
import errno

import pytest

from vfio_hw.devices.e1000e import MULTICAST
from vfio_hw.devices.edu import fetch, store
from vfio_hw.devices.kinds import need_features
from vfio_hw.fixtures import Target
from vfio_hw.host.limits import no_free_descriptor
from vfio_hw.uapi import lib
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.dma import PAGE, first_iova, mapped
from vfio_hw.vfio.dmabuf import export, export_errno
from vfio_hw.vfio.feature import GET, PROBE, SET, feature_errno
from vfio_hw.vfio.opened import opened

MODES = ["vfio_type1v2_iommu", "iommufd"]
BAR0 = lib.VFIO_PCI_BAR0_REGION_INDEX
# What is written to a register, to be read through the buffer.
PATTERN = 0x5EED1234
BAR5 = lib.VFIO_PCI_BAR5_REGION_INDEX
NUMBER = lib.VFIO_DEVICE_FEATURE_DMA_BUF
COMMAND, COMMAND_MEMORY = 4, 1 << 1
WATCHED = 0.3
PROMPT = 5.0


@pytest.fixture
def exporter(pci_device: Target) -> Target:
    """A function whose BARs can be dma-bufs.

    :raises Unsupported: this kernel has not the feature.
    """
    with opened(pci_device.path, MODES[0]) as user:
        need_features(user.device, pci_device.kind, "DMA_BUF")
    return pci_device


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", MODES)
def test_a_dma_buf_is_as_long_as_its_parts(exporter: Target, mode):
    with opened(exporter.path, mode) as user:
        size = user.device.region(BAR0).size
        for ranges in (
            [(0, size)],
            [(0, PAGE)],
            [(size - PAGE, PAGE)],
            [(PAGE, PAGE), (0, 2 * PAGE)],
        ):
            with export(user.device, BAR0, ranges) as buffer:
                assert buffer.size == sum(length for _, length in ranges)


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_parts_that_are_not_in_the_bar_are_refused(exporter: Target):
    with opened(exporter.path, MODES[0]) as user:
        device, top = user.device, 2**64
        size, whole = device.region(BAR0).size, [(0, PAGE)]
        for ranges in (
            [],
            [(0, 0)],
            [(0, PAGE - 1)],
            [(1, PAGE)],
            [(PAGE // 2, PAGE // 2)],
            [(0, size + PAGE)],
            [(size, PAGE)],
            [(size - PAGE, 2 * PAGE)],
            [(top - PAGE, PAGE)],
            [(PAGE, top - PAGE)],
            [(0, PAGE), (size, PAGE)],
            [(0, top - PAGE), (0, 2 * PAGE)],
        ):
            answer = export_errno(device, BAR0, ranges)
            assert answer in (errno.EINVAL, errno.EOVERFLOW), ranges
        assert export_errno(device, BAR0, whole, flags=1) == errno.EINVAL
        for index in (BAR5, lib.VFIO_PCI_ROM_REGION_INDEX, lib.VFIO_PCI_CONFIG_REGION_INDEX, 99):
            assert export_errno(device, index, whole) == errno.ENODEV
        for flags in (SET, GET | SET, PROBE | SET):
            assert feature_errno(device, NUMBER | flags, bytes(32)) == errno.EINVAL
        assert export_errno(device, BAR0, whole) == 0


@pytest.mark.promise("P7")
@pytest.mark.parametrize("mode", MODES)
def test_without_a_free_descriptor_nothing_is_exported(exporter: Target, mode):
    """EMFILE, and nothing is left that would hold the device when it is removed."""
    with opened(exporter.path, mode) as user:
        with no_free_descriptor():
            answers = [export_errno(user.device, BAR0, [(0, PAGE)]) for _ in range(3)]
        assert answers == [errno.EMFILE] * 3
        with export(user.device, BAR0, [(0, PAGE)]):
            pass
        user.device.close()
        with exporter.removal() as removal:
            removal.must_return(PROMPT)


@pytest.mark.promise("P3")
@pytest.mark.promise("P1")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("removed", [False, True], ids=["closed", "removed"])
def test_a_dma_buf_that_outlives_its_device_holds_nothing_of_it(exporter: Target, mode, removed):
    """The device opens again, or is removed, while the buffers are open; they close afterwards."""
    with contextlib.ExitStack() as buffers:
        with opened(exporter.path, mode) as user:
            size = user.device.region(BAR0).size
            before, after, late = (
                buffers.enter_context(export(user.device, BAR0, [(0, size)])) for _ in range(3)
            )
            before.close()
            user.device.close()
            after.close()
        if removed:
            with exporter.removal() as removal:
                removal.must_return(PROMPT)
        else:
            with opened(exporter.path, mode) as user:
                assert export_errno(user.device, BAR0, [(0, size)]) == 0
        assert late.size == size


@pytest.mark.promise("P1")
def test_removal_waits_for_the_device_and_not_for_its_dma_buf(exporter: Target):
    with (
        opened(exporter.path, MODES[0]) as user,
        export(user.device, BAR0, [(0, PAGE)]),
        exporter.removal() as removal,
    ):
        assert removal.wait(WATCHED) is None
        user.device.close()
        removal.must_return(PROMPT)


@pytest.mark.promise("P8")
def test_a_dma_buf_shows_memory_while_the_command_register_enables_it(exporter: Target):
    """And only then it is mapped for a device, however it was when the buffer was made."""
    with opened(exporter.path, "iommufd") as user:
        space, ioas, iova = user.device.config(), user.iommu, first_iova(user.iommu)
        disabled = space.get(COMMAND, 2) & ~COMMAND_MEMORY
        for exported in (False, True):
            space.put(COMMAND, 2, disabled | (COMMAND_MEMORY if exported else 0))
            with export(user.device, BAR0, [(0, PAGE)]) as buffer:
                for enabled in (exported, False, True, False, True):
                    space.put(COMMAND, 2, disabled | (COMMAND_MEMORY if enabled else 0))
                    assert buffer.size == PAGE
                    answer = ioas.map_file_errno(iova, buffer, 0, PAGE)
                    assert answer == (0 if enabled else errno.ENODEV)
                    if enabled:
                        assert ioas.unmap_dma(iova, PAGE) == PAGE
        # What is mapped when the memory goes is unmapped as before.
        with export(user.device, BAR0, [(0, PAGE)]) as buffer:
            ioas.map_file(iova, buffer, 0, PAGE)
            space.put(COMMAND, 2, disabled)
            assert ioas.unmap_dma(iova, PAGE) == PAGE
            space.put(COMMAND, 2, disabled | COMMAND_MEMORY)


@pytest.mark.promise("P3")
@pytest.mark.parametrize("first", ["device", "buffer", "iommufd", "importer"])
def test_a_bar_that_is_mapped_for_a_peer_goes_with_its_device(edu, e1000e, first):
    """In whatever order they are closed; without its device the buffer is not mapped anew."""
    with opened(edu.path, "iommufd") as importer, Cdev(e1000e.path) as cdev:
        iommufd, ioas = importer.iommufd, importer.iommu
        cdev.bind_iommufd(iommufd)
        buffer, iova = export(cdev, BAR0, [(0, 2 * PAGE)]), first_iova(ioas, 4 * PAGE)
        assert ioas.map_file_errno(iova, buffer, 0, 4 * PAGE) == errno.EINVAL
        ioas.map_file(iova, buffer, 0, 2 * PAGE)
        everything = {
            "device": cdev,
            "buffer": buffer,
            "iommufd": iommufd,
            "importer": importer.device,
        }
        everything[first].close()
        if first == "device":
            assert ioas.map_file_errno(iova + 2 * PAGE, buffer, 0, PAGE) == errno.ENODEV
        if first != "iommufd":
            assert ioas.unmap_dma(iova, 2 * PAGE) == 2 * PAGE
        buffer.close()


@pytest.mark.promise("P3")
@pytest.mark.iommu_faults("edu")
def test_a_peer_reads_a_bar_through_its_dma_buf_until_the_device_is_closed(edu, e1000e):
    """Then the mapping is there and shows nothing: the IOMMU reports the peer that still reads."""
    page, at = MULTICAST & -PAGE, MULTICAST % PAGE
    with opened(edu.path, "iommufd") as importer, Cdev(e1000e.path) as cdev:
        ioas, registers = importer.iommu, importer.device.region(BAR0)
        importer.device.config().enable_master()
        cdev.bind_iommufd(importer.iommufd)
        iova = first_iova(ioas, 2 * PAGE)
        with (
            mapped(ioas, PAGE, iova + PAGE) as (ours, target),
            export(cdev, BAR0, [(page, PAGE)]) as buffer,
        ):
            ioas.map_file(iova, buffer, 0, PAGE)
            cdev.region(BAR0).put(MULTICAST, 4, PATTERN)
            fetch(registers, iova + at, 4)
            store(registers, target, 4)
            assert int.from_bytes(ours.bytes[:4], "little") == PATTERN
            cdev.close()
            fetch(registers, iova + at, 4)
            assert ioas.unmap_dma(iova, PAGE) == PAGE
