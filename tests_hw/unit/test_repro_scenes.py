"""This file checks that races of the catalogue are written as C programs that compile."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vfio_hw.race.again import Recorded
from vfio_hw.race.catalogue.choice import matrix
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


def addresses(content: object) -> Iterator[int]:
    """Every number of a file, and every eight bytes of its memory, that this process maps."""
    mapped = [
        line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().split("\n")[:-1]
    ]
    ranges = [(int(start, 16), int(end, 16)) for start, end in mapped]
    for number in numbers(content):
        if any(start <= number < end for start, end in ranges):
            yield number


def numbers(content: object) -> Iterator[int]:
    match content:
        case dict():
            for key, value in content.items():
                if key == "bytes":
                    data = bytes.fromhex(value)
                    ends = range(8, len(data) + 1)
                    yield from (int.from_bytes(data[end - 8 : end], sys.byteorder) for end in ends)
                else:
                    yield from numbers(value)
        case list():
            for each in content:
                yield from numbers(each)
        case int():
            yield content


def test_no_race_of_the_catalogue_has_an_address_of_this_process_in_its_file(
    subject: Subject,
) -> None:
    """Each entry on each kind, by the first pair that has it."""
    seen: set[tuple[str, str, str]] = set()
    for pair in matrix():
        new = {(e.name, pair.kind, pair.scene) for e in (*pair.users, pair.disruption)} - seen
        if not new:
            continue
        seen |= new
        scene = scene_of(pair, replace(subject, kind=pair.kind))
        content = Failure(scene, "x", 1, 50, 1.0, 1000, [], 5.0).as_json(None)
        assert not list(addresses(content)), pair.name
    assert len(seen) > 500


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
    failure = Failure(scene, "x", 1, 50, 1.0, 1000, pair.legal, 5.0, [0] * len(scene.actors))
    about = {"kind": kind, "name": "0000:00:03.0", **device}
    file, source = devices / "race.json", devices / "race.c"
    ran = {"test": "tests_hw/race/test_x.py::test_y", "widened": [], "guest": None}
    file.write_text(json.dumps({**ran, **failure.as_json(about)}))
    source.write_text(written(Recorded.read(file)))
    text = source.read_text()
    assert ", group_node);" in text, "the number of the group is that of another day"
    assert '\t"/dev/vfio/3"' not in text
    line = ["cc", "-O1", "-Wall", "-Werror", "-pthread", "-o", devices / "race", source]
    subprocess.run(line, check=True, timeout=60)
