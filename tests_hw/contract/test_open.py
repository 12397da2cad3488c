"""This file checks that a device opens in every IOMMU mode, and what it then says of itself (P8).

Expected values come from sysfs, or from the device's config space where sysfs has no word.
"""

import errno
import fcntl
import itertools

import pytest

from vfio_hw.errors import KernelRefused
from vfio_hw.fixtures import Target
from vfio_hw.uapi import lib
from vfio_hw.vfio import config
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.descriptor import errno_of
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.opened import opened

MODE = "vfio_type1v2_iommu"
BARS = range(lib.VFIO_PCI_BAR0_REGION_INDEX, lib.VFIO_PCI_BAR5_REGION_INDEX + 1)
READ_WRITE = lib.VFIO_REGION_INFO_FLAG_READ | lib.VFIO_REGION_INFO_FLAG_WRITE


def hexadecimal(target: Target, attribute: str) -> int:
    return int((target.path / attribute).read_text(), 16)


def resource(target: Target, number: int) -> int:
    """The size of a PCI resource in bytes, from its line "first last flags" in sysfs."""
    first, last, _ = (target.path / "resource").read_text().splitlines()[number].split()
    return int(last, 16) - int(first, 16) + 1 if int(last, 16) else 0


@pytest.mark.promise("P8")
def test_a_pci_function_opens_in_every_mode_and_shows_its_own_config_space(
    pci_device: Target, iommu_mode
):
    with opened(pci_device.path, iommu_mode) as user:
        space = user.device.config()
        assert space.get(config.VENDOR, 2) == hexadecimal(pci_device, "vendor")
        assert space.get(config.DEVICE, 2) == hexadecimal(pci_device, "device")


@pytest.mark.promise("P8")
def test_a_device_has_the_regions_and_irqs_of_the_api_it_declares(device: Target, iommu_mode):
    """What a PCI function is, its bus says; what an mdev shows, its type's device_api says."""
    api = device.path / "mdev_type" / "device_api"
    if device.kind == "mtty":
        assert api.read_text().strip() == "vfio-pci"
    with opened(device.path, iommu_mode) as user:
        info = user.device.info()
        assert info.flags & lib.VFIO_DEVICE_FLAGS_PCI
        assert info.num_regions >= lib.VFIO_PCI_NUM_REGIONS
        assert info.num_irqs == lib.VFIO_PCI_NUM_IRQS
        assert user.device.region_errno(info.num_regions) == errno.EINVAL
        assert user.device.irq_errno(info.num_irqs) == errno.EINVAL


@pytest.mark.promise("P8")
@pytest.mark.promise("P3")
def test_a_device_that_was_closed_opens_again(device: Target, iommu_mode):
    for _ in range(2):
        with opened(device.path, iommu_mode) as user:
            assert user.device.info_errno() == 0
    assert errno_of(Group)(device.iommu_group) == 0


@pytest.mark.promise("P8")
@pytest.mark.parametrize("mode", [MODE, "iommufd"])
def test_the_descriptor_of_a_device_is_closed_by_exec(device: Target, mode):
    """GET_DEVICE_FD makes it so; for the character device our own O_CLOEXEC does."""
    with opened(device.path, mode) as user:
        assert fcntl.fcntl(user.device.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC


@pytest.mark.promise("P8")
def test_bar_regions_have_the_sizes_that_sysfs_lists(pci_device: Target):
    with opened(pci_device.path, MODE) as user:
        for index in BARS:
            region = user.device.region(index)
            assert region.size == resource(pci_device, index), str(region)
            assert region.flags & READ_WRITE == (READ_WRITE if region.size else 0), str(region)


@pytest.mark.promise("P8")
def test_the_config_region_is_as_long_as_the_file_in_sysfs(pci_device: Target):
    with opened(pci_device.path, MODE) as user:
        region = user.device.region(lib.VFIO_PCI_CONFIG_REGION_INDEX)
        assert region.size == (pci_device.path / "config").stat().st_size
        assert region.readable
        assert region.writable
        assert not region.mappable


@pytest.mark.promise("P8")
def test_sizing_a_bar_in_config_space_gives_the_size_of_its_region(device: Target):
    """None of these devices has a 64-bit BAR, so each BAR has a register of its own."""
    with opened(device.path, MODE) as user:
        space = user.device.config()
        sizes = [space.bar_size(number) for number in range(len(BARS))]
        assert sizes == [user.device.region(index).size for index in BARS]
    assert any(sizes)


@pytest.mark.promise("P8")
def test_regions_do_not_overlap(device: Target):
    with opened(device.path, MODE) as user:
        indices = range(lib.VFIO_PCI_CONFIG_REGION_INDEX + 1)
        regions = sorted((user.device.region(index) for index in indices), key=lambda r: r.offset)
        for lower, upper in itertools.pairwise(regions):
            assert lower.offset + lower.size <= upper.offset, f"{lower} and {upper}"


@pytest.mark.promise("P8")
def test_only_a_bar_with_the_mmap_flag_can_be_mapped(device: Target):
    mapped = 0
    with opened(device.path, MODE) as user:
        for index in range(lib.VFIO_PCI_CONFIG_REGION_INDEX + 1):
            region = user.device.region(index)
            size = min(region.size, 4096) or 4096
            if region.mappable:
                with region.mmapped(0, size) as window:
                    mapped += len(window)
                continue
            with pytest.raises(KernelRefused) as refused, region.mmapped(0, size):
                pass
            assert refused.value.errno == errno.EINVAL, str(region)
    assert bool(mapped) == (device.kind != "mtty")


@pytest.mark.promise("P8")
def test_a_mapped_bar_shows_what_read_shows(edu):
    """Register 0 of edu identifies it (QEMU, docs/specs/edu.rst): 0xRRrr00ed."""
    with opened(edu.path, MODE) as user:
        bar = user.device.region(lib.VFIO_PCI_BAR0_REGION_INDEX)
        with bar.mmapped(0, 4096) as window, memoryview(window).cast("I") as registers:
            assert registers[0] & 0xFFFF == 0x00ED
            assert registers[0] == bar.get(0, 4)


@pytest.mark.promise("P8")
def test_the_reset_flag_says_whether_reset_works(pci_device: Target):
    """The PCI core lists in reset_method how it can reset the function, if it can."""
    methods = pci_device.path / "reset_method"
    can = methods.exists() and bool(methods.read_text().strip())
    with opened(pci_device.path, MODE) as user:
        assert bool(user.device.info().flags & lib.VFIO_DEVICE_FLAGS_RESET) == can
        assert user.device.reset_errno() == (0 if can else errno.EINVAL)


@pytest.mark.promise("P5")
def test_before_it_is_bound_a_character_device_answers_nothing(device: Target):
    with Cdev(device.path) as cdev:
        assert cdev.info_errno() == errno.EINVAL
        assert cdev.region_errno(0) == errno.EINVAL
        assert cdev.irq_errno(0) == errno.EINVAL
        assert cdev.reset_errno() == errno.EINVAL
        assert cdev.attach_errno(1) == errno.EINVAL
        assert cdev.detach_errno() == errno.EINVAL
