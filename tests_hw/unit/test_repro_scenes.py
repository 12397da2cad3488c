"""This file checks that races of the catalogue are written as C programs that compile."""

import json
import subprocess
from pathlib import Path

import pytest

from vfio_hw.race.again import Recorded
from vfio_hw.race.catalogue.pairs import disruption_named, operation_named, together
from vfio_hw.race.catalogue.play import scene_of
from vfio_hw.race.catalogue.subject import Subject
from vfio_hw.race.failure import Failure
from vfio_hw.repro.writer import written
from vfio_hw.uapi import lib

MDEV = {"bus": "mdev", "type": "mtty-1", "parent": "mtty"}
PCI = {"bus": "pci", "driver": "vfio-pci"}


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    """A directory of sysfs as a device has it."""
    (tmp_path / "vfio-dev/vfio7").mkdir(parents=True)
    (tmp_path / "vfio-dev/vfio7/dev").touch()
    (tmp_path / "iommu_group").symlink_to("3")
    return tmp_path


@pytest.mark.parametrize(
    ("operation", "disruption", "kind", "device"),
    [
        ("VFIO_GROUP_GET_DEVICE_FD", "mdev_remove", "mtty", MDEV),
        ("VFIO_IOMMU_MAP_DMA", "driver_unbind", "e1000e", PCI),
    ],
)
def test_a_pair_is_a_program_that_sets_its_own_scene(
    devices: Path,
    operation: str,
    disruption: str,
    kind: str,
    device: dict[str, str],
) -> None:
    regions = {lib.VFIO_PCI_BAR0_REGION_INDEX: 0, lib.VFIO_PCI_CONFIG_REGION_INDEX: 7 << 40}
    pair = together([operation_named(operation)], disruption_named(disruption), kind)
    scene = scene_of(pair, Subject(kind, "0000:00:03.0", devices, regions))
    failure = Failure(scene, "x", 1, 50, 1.0, 1000, pair.legal, [0] * len(scene.actors))
    about = {"kind": kind, "name": "0000:00:03.0", **device}
    file, source = devices / "race.json", devices / "race.c"
    file.write_text(json.dumps({"test": "t", **failure.as_json(about)}))
    source.write_text(written(Recorded.read(file)))
    text = source.read_text()
    assert ", group_node);" in text, "the number of the group is that of another day"
    assert '\t"/dev/vfio/3"' not in text
    line = ["cc", "-O1", "-Wall", "-Werror", "-pthread", "-o", devices / "race", source]
    subprocess.run(line, check=True, timeout=60)
