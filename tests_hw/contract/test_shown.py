"""This file checks what proc and sysfs show of a device, against what it says itself (P8)."""

from pathlib import Path

import pytest

from vfio_hw.errors import Unsupported
from vfio_hw.fixtures import Target
from vfio_hw.uapi import lib
from vfio_hw.vfio.opened import opened


@pytest.mark.promise("P8")
def test_the_descriptor_of_a_device_is_shown_with_the_device(device: Target, iommu_mode):
    """Source: Documentation/filesystems/proc.rst, on VFIO device files."""
    with opened(device.path, iommu_mode) as user:
        text = Path(f"/proc/self/fdinfo/{user.device.fileno()}").read_text()
        told = [line for line in text.splitlines() if line.startswith("vfio-")]
        if not told:
            raise Unsupported("fdinfo tells nothing of VFIO: this kernel is older than that")
        assert told == [f"vfio-device-syspath: {device.path.resolve()}"]


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
