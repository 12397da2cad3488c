"""This file checks what proc and debugfs show of a device (P8).

Source: Documentation/filesystems/proc.rst, on fdinfo; Documentation/ABI/testing/debugfs-vfio.
"""

import contextlib
from pathlib import Path

import pytest

from vfio_hw.errors import Unsupported
from vfio_hw.fixtures import Target
from vfio_hw.host.binding import bound_to
from vfio_hw.host.parameter import parameter
from vfio_hw.uapi import lib
from vfio_hw.vfio.feature import PROBE, SET, feature_errno
from vfio_hw.vfio.migration import STATES, migration_flags, set_state, state
from vfio_hw.vfio.opened import opened

DEBUGFS = Path("/sys/kernel/debug/vfio")
POLICIES = ("nointxmask", "disable_idle_d3")
# KernelVersion of the files of a device, in the ABI's description.
SINCE = {"migration/state": "6.8", "migration/features": "6.18"}
SINCE |= {f"pci/{name}": "7.2" for name in POLICIES}
# From RUNNING each is reached by the ways of the header; of RESUMING without data only by a reset.
TOUR = (
    "RUNNING_P2P",
    "STOP",
    "STOP_COPY",
    "STOP",
    "RUNNING",
    "PRE_COPY",
    "PRE_COPY_P2P",
    "STOP_COPY",
)
TOUR += ("STOP", "RESUMING")


def shown(device: Target, name: str) -> str:
    """The content of a file that debugfs has of a device."""
    if not DEBUGFS.is_dir():
        raise Unsupported(f"there is no {DEBUGFS}", option="CONFIG_VFIO_DEBUGFS")
    file = DEBUGFS / device.path.name / name
    if not file.exists():
        raise Unsupported(
            f"{file} is not there: this kernel is older than it",
            option="CONFIG_VFIO_DEBUGFS",
            since=SINCE[name],
        )
    return file.read_text()


@pytest.mark.promise("P8")
def test_the_descriptor_of_a_device_is_shown_with_the_device(device: Target, iommu_mode):
    with opened(device.path, iommu_mode) as user:
        text = Path(f"/proc/self/fdinfo/{user.device.fileno()}").read_text()
        told = [line for line in text.splitlines() if line.startswith("vfio-")]
        if not told:
            text = "fdinfo tells nothing of VFIO: this kernel is older than that"
            raise Unsupported(text, since="6.18")
        assert told == [f"vfio-device-syspath: {device.path.resolve()}"]


@pytest.mark.promise("P8")
def test_the_state_of_a_migration_is_shown(mtty):
    with opened(mtty.path, "vfio_type1v2_iommu") as user, contextlib.ExitStack() as sessions:
        for name in TOUR:
            session = set_state(user.device, STATES[name])
            if session:
                sessions.enter_context(session)
            assert state(user.device) == STATES[name]
            assert shown(mtty, "migration/state") == f"{name}\n"
        user.device.reset()
        assert shown(mtty, "migration/state") == "RUNNING\n"


@pytest.mark.promise("P8")
def test_what_a_device_can_do_for_a_migration_is_shown(mtty):
    with opened(mtty.path, "vfio_type1v2_iommu") as user:
        flags = migration_flags(user.device)
        logs = feature_errno(user.device, lib.VFIO_DEVICE_FEATURE_DMA_LOGGING_START | PROBE | SET)
    words = {
        "stop-copy": flags & lib.VFIO_MIGRATION_STOP_COPY,
        "p2p": flags & lib.VFIO_MIGRATION_P2P,
        "pre-copy": flags & lib.VFIO_MIGRATION_PRE_COPY,
        "dirty-tracking": logs == 0,
    }
    assert shown(mtty, "migration/features").split() == [word for word in words if words[word]]


@pytest.mark.promise("P8")
def test_a_device_that_can_not_be_migrated_shows_nothing_of_it(edu):
    assert shown(edu, "pci/nointxmask")
    assert not (DEBUGFS / edu.path.name / "migration").exists()


@pytest.mark.promise("P8")
@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("value", ["Y", "N"])
def test_a_policy_is_that_of_the_time_when_the_device_was_bound(free_e1000e, name, value):
    other = "N" if value == "Y" else "Y"
    with parameter("vfio_pci", name, value), bound_to(free_e1000e, "vfio-pci") as function:
        assert shown(function, f"pci/{name}") == f"{value}\n"
        with parameter("vfio_pci", name, other):
            assert shown(function, f"pci/{name}") == f"{value}\n"
            with opened(function.path, "vfio_type1v2_iommu") as user:
                assert user.device.info()
            assert shown(function, f"pci/{name}") == f"{value}\n"


@pytest.mark.promise("P8")
@pytest.mark.parametrize("kind", ["mtty", "mdpy", "mbochs"])
def test_the_type_of_a_mediated_device_says_what_it_makes(request, kind):
    """Source: Documentation/driver-api/vfio-mediated-device.rst."""
    mdev = request.getfixturevalue(kind)
    shown_of = {file.name: file.read_text() for file in (mdev.path / "mdev_type").glob("[a-z]*_*")}
    assert shown_of["device_api"] == "vfio-pci\n"
    with opened(mdev.path, "vfio_type1v2_iommu") as user:
        assert user.device.info().flags & lib.VFIO_DEVICE_FLAGS_PCI
        memory = user.device.region(lib.VFIO_PCI_BAR0_REGION_INDEX).size
    types = list((mdev.path / "mdev_type").resolve().parent.iterdir())
    names = [(each / "name").read_text() for each in types]
    assert len(set(names)) == len(types)
    assert all(name.strip() and name.count("\n") == 1 for name in names)
    if kind == "mbochs":
        description = (mdev.path / "mdev_type" / "description").read_text()
        assert f"{memory >> 20} MB" in description
