"""What several of these tests make up."""

import pytest

from vfio_hw.race.catalogue.subject import Pull, Subject
from vfio_hw.uapi import lib


@pytest.fixture
def subject(tmp_path) -> Subject:
    """A directory with what scenes look for in sysfs."""
    (tmp_path / "vfio-dev/vfio7").mkdir(parents=True)
    (tmp_path / "vfio-dev/vfio7/dev").touch()
    (tmp_path / "iommu_group").symlink_to("3")
    regions = {lib.VFIO_PCI_BAR0_REGION_INDEX: 0, lib.VFIO_PCI_CONFIG_REGION_INDEX: 7 << 40}
    pull = Pull(7, b"device_del")
    return Subject("mtty", "name", tmp_path, regions, physical=tmp_path, pull=pull)
