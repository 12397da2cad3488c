"""This file checks which features each kind of device has, and how all of them are asked for (P8).

Source: linux/vfio.h, VFIO_DEVICE_FEATURE: a probe needs no data, and says whether the feature is
there with the methods named; without a probe exactly one method is named.
"""

import errno
import uuid

import pytest

from vfio_hw.devices import kinds
from vfio_hw.devices.kinds import Kind, need_features
from vfio_hw.errors import Unsupported
from vfio_hw.fixtures import Target
from vfio_hw.uapi import ffi, ioctl_errno, lib, struct
from vfio_hw.vfio.cdev import Cdev
from vfio_hw.vfio.descriptor import errno_of
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.feature import GET, PROBE, SET, feature, feature_errno
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.iommufd import Iommufd
from vfio_hw.vfio.opened import opened

MODE = "vfio_type1v2_iommu"
MODES = [MODE, "iommufd"]
METHODS = (0, GET, SET, GET | SET)


def number_of(name: str) -> int:
    return getattr(lib, f"VFIO_DEVICE_FEATURE_{name}")


# What can be done with each feature, by the comments of the header.
ALLOWED = {
    "PCI_VF_TOKEN": SET,
    "MIGRATION": GET,
    "MIG_DEVICE_STATE": GET | SET,
    "LOW_POWER_ENTRY": SET,
    "LOW_POWER_ENTRY_WITH_WAKEUP": SET,
    "LOW_POWER_EXIT": SET,
    "DMA_LOGGING_START": SET,
    "DMA_LOGGING_STOP": SET,
    "DMA_LOGGING_REPORT": GET,
    "MIG_DATA_SIZE": GET,
    "BUS_MASTER": SET,
    "DMA_BUF": GET,
    "MIG_PRECOPY_INFOv2": SET,
    "ZPCI_ERROR": GET,
}
# For these the header has no word of what is said where they are not.
OPTIONAL = {"DMA_BUF", "MIG_PRECOPY_INFOv2", "ZPCI_ERROR"}
MIGRATABLE = {
    *("MIGRATION", "MIG_DEVICE_STATE", "MIG_DATA_SIZE"),
    *("DMA_LOGGING_START", "DMA_LOGGING_STOP", "DMA_LOGGING_REPORT"),
}


@pytest.fixture
def kind(every_kind: Target) -> Kind:
    """What the device must do."""
    return kinds.kind(every_kind.kind)


@pytest.fixture(params=MODES)
def user(request, every_kind: Target):
    with opened(every_kind.path, request.param) as user:
        yield user.device


def has(device: Device, kind: Kind, name: str) -> bool:
    """Whether the kind promises the feature, or it is one of newer kernels that is there."""
    promise = kind.features.get(name)
    if promise is None or promise.holds():
        return promise is not None
    return feature_errno(device, number_of(name) | PROBE) == 0


def bind_with_token(cdev: Cdev, iommufd: Iommufd, token: str) -> int:
    """The errno of a bind that brings a token."""
    data = ffi.new("uint8_t[]", uuid.UUID(token).bytes)
    bind = struct(
        "vfio_device_bind_iommufd",
        flags=lib.VFIO_DEVICE_BIND_FLAG_TOKEN,
        iommufd=iommufd.fileno(),
        token_uuid_ptr=int(ffi.cast("uintptr_t", data)),
    )
    return ioctl_errno(cdev.fileno(), "VFIO_DEVICE_BIND_IOMMUFD", bind)[1]


def absent(name: str) -> set[int]:
    """What is said of a feature that is not there."""
    return {errno.ENOTTY, errno.EINVAL} if name in OPTIONAL else {errno.ENOTTY}


@pytest.mark.promise("P8")
def test_a_probe_tells_the_methods_of_a_feature_and_needs_no_data(user, kind):
    """ENOTTY for a feature that is not there; EINVAL for a method that one has not."""
    for name, allowed in ALLOWED.items():
        there = has(user, kind, name)
        for methods in METHODS:
            probe = number_of(name) | PROBE | methods
            answers = {feature_errno(user, probe, bytes(length)) for length in (0, 1, 64)}
            if there:
                expected = {errno.EINVAL} if methods & ~allowed else {0}
                assert answers == expected, f"{name} with methods {methods:#x}"
            else:
                assert answers <= absent(name), f"{name} with methods {methods:#x}"


@pytest.mark.promise("P8")
def test_a_feature_is_asked_for_with_one_method_that_it_has(user, kind):
    """What it has is done elsewhere; here is everything else."""
    for name, allowed in ALLOWED.items():
        number, there = number_of(name), has(user, kind, name)
        assert feature_errno(user, number | GET | SET, bytes(64)) == errno.EINVAL
        for methods in (0, GET, SET):
            if there and methods & allowed:
                continue
            answer = feature_errno(user, number | methods, bytes(64))
            refusals = {errno.EINVAL} if there else absent(name)
            assert answer in refusals, f"{name} with methods {methods:#x}"


@pytest.mark.promise("P8")
def test_flags_and_numbers_without_a_meaning_are_refused(user, kind):
    """A probe of them as well, whatever else it asks for."""
    known = number_of(min(kind.features, default="MIGRATION"))
    for bit in range(19, 32):
        for methods in METHODS:
            assert feature_errno(user, known | PROBE | methods | 1 << bit) == errno.EINVAL
    for number in (0x100, 0x7FFF, 0xFFFF):
        for methods in METHODS:
            assert feature_errno(user, number | PROBE | methods) == errno.ENOTTY
        for methods in (GET, SET):
            assert feature_errno(user, number | methods, bytes(64)) == errno.ENOTTY


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@pytest.mark.parametrize("mode", MODES)
def test_a_probe_does_nothing(pci_device, mtty, mode):
    """It lets no device sleep, starts no session, exports nothing."""
    usage = pci_device.path / "power" / "runtime_usage"
    with opened(pci_device.path, mode) as user:
        before = usage.read_text()
        for name in ALLOWED:
            feature_errno(user.device, number_of(name) | PROBE | ALLOWED[name], bytes(64))
        assert usage.read_text() == before
        # Once more would be refused if the probe had entered low power.
        assert feature_errno(user.device, number_of("LOW_POWER_ENTRY") | SET) == 0
        assert feature_errno(user.device, number_of("LOW_POWER_EXIT") | SET) == 0
    with opened(mtty.path, mode) as user:
        need_features(user.device, "mtty", *MIGRATABLE)
        ask = number_of("MIG_DEVICE_STATE") | GET
        _, state = feature(user.device, ask, bytes(8))
        for name in MIGRATABLE:
            data = b"\1" * 64
            result, after = feature(user.device, number_of(name) | PROBE | ALLOWED[name], data)
            assert (result, after) == (0, data)
        assert feature(user.device, ask, bytes(8))[1] == state


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
@pytest.mark.parametrize("name", ["MIGRATION", "MIG_DEVICE_STATE", "MIG_DATA_SIZE"])
def test_data_that_do_not_hold_the_answer_are_refused(mtty, name):
    """Every size up to that of the struct, and nothing is written to what is too short."""
    with opened(mtty.path, MODE) as user:
        need_features(user.device, "mtty", name)
        for length in range(8):
            assert feature_errno(user.device, number_of(name) | GET, bytes(length)) == errno.EINVAL
        assert feature(user.device, number_of(name) | GET, bytes(8))[0] == 0
        _, longer = feature(user.device, number_of(name) | GET, b"\xee" * 24)
        assert longer[8:] == b"\xee" * 16


@pytest.mark.promise("P8")
def test_a_token_is_for_functions_with_virtual_ones(pci_device):
    """Whoever has none can neither set it, nor be opened or bound with it, and then opens without.

    Source: linux/vfio.h, VFIO_DEVICE_FEATURE_PCI_VF_TOKEN, VFIO_DEVICE_BIND_FLAG_TOKEN; and the
    form in which a name carries it, vf_token=, in drivers/vfio/pci/vfio_pci_core.c.
    """
    if (pci_device.path / "sriov_totalvfs").exists():
        raise Unsupported(f"{pci_device.name} has virtual functions")
    token = "bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3"
    with opened(pci_device.path, MODE) as user:
        for length in (0, 15, 16, 64):
            data = bytes(length)
            number = number_of("PCI_VF_TOKEN")
            assert feature_errno(user.device, number | SET, data) == errno.ENOTTY
        group: Group = user.group
        for suffix in (
            f" vf_token={token}",
            f" vf_token={token} vf_token={token}",
            " vf_token=",
            " vf_token=nonsense",
            f" vf_token={token[:-1]}",
            f" token={token}",
            " anything",
        ):
            answer = group.device_errno(pci_device.name + suffix)
            assert answer in (errno.EINVAL, errno.ENODEV), suffix
        assert group.device_errno(f"{pci_device.name} vf_token={token}") == errno.EINVAL
        assert group.device_errno(pci_device.name) == 0
    with Iommufd() as iommufd, Cdev(pci_device.path) as cdev:
        assert bind_with_token(cdev, iommufd, token) == errno.EINVAL
        assert cdev.info_errno() == errno.EINVAL
        assert cdev.bind_iommufd_errno(iommufd) == 0


@pytest.mark.promise("P8")
def test_a_mediated_device_has_no_bus_master_or_token_to_set(mtty, mdpy, mbochs):
    """Nor does a token in its name mean the device."""
    for mdev in (mtty, mdpy, mbochs):
        with opened(mdev.path, MODE) as user:
            for op in (lib.VFIO_DEVICE_FEATURE_CLEAR_MASTER, lib.VFIO_DEVICE_FEATURE_SET_MASTER):
                data = op.to_bytes(4, "little")
                number = number_of("BUS_MASTER")
                assert feature_errno(user.device, number | SET, data) == errno.ENOTTY
            name = f"{mdev.uuid} vf_token={mdev.uuid}"
            assert errno_of(user.group.device)(name) == errno.ENODEV


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_a_mediated_device_is_bound_without_a_token(mtty, mdpy, mbochs):
    """It has none to match: EINVAL for whichever. Source: VFIO_DEVICE_BIND_FLAG_TOKEN."""
    for mdev in (mtty, mdpy, mbochs):
        with Iommufd() as iommufd, Cdev(mdev.path) as cdev:
            for token in (mdev.uuid, str(uuid.UUID(int=0))):
                assert bind_with_token(cdev, iommufd, token) == errno.EINVAL
                assert cdev.info_errno() == errno.EINVAL
            assert cdev.bind_iommufd_errno(iommufd) == 0
            assert cdev.info_errno() == 0
