"""This file checks that numbers and instances are given back by a device that goes (P3).

Indices and minors are handed out lowest first, so a number that was not given back shows.
"""

from pathlib import Path

import pytest

from vfio_hw.host.binding import rebind, unbind
from vfio_hw.host.mdev import created, type_by_id
from vfio_hw.vfio.opened import opened

CYCLES = 5


def numbers(path: Path) -> tuple[str, str, str, str]:
    """Group number, name of the character device, and the device numbers of both nodes."""
    group = (path / "iommu_group").readlink().name
    (entry,) = (path / "vfio-dev").iterdir()
    group_node = Path(f"/sys/class/vfio/{group}/dev").read_text().strip()
    return group, entry.name, group_node, (entry / "dev").read_text().strip()


@pytest.mark.promise("P3")
def test_mediated_devices_created_one_after_the_other_get_the_same_numbers():
    kind = type_by_id("mtty-1")
    instances = kind.available_instances
    seen = set()
    for _ in range(CYCLES):
        with created(kind) as mdev, opened(mdev.path, "vfio_type1v2_iommu"):
            assert kind.available_instances == instances - 1
            seen.add(numbers(mdev.path))
        assert kind.available_instances == instances
    assert len(seen) == 1, f"numbers were not given back: {sorted(seen)}"


@pytest.mark.promise("P3")
def test_a_function_bound_again_and_again_gets_the_same_numbers(edu):
    seen = set()
    for _ in range(CYCLES):
        unbind(edu)
        rebind(edu, "vfio-pci")
        with opened(edu.path, "iommufd"):
            seen.add(numbers(edu.path))
    assert len(seen) == 1, f"numbers were not given back: {sorted(seen)}"
