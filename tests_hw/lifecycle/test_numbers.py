"""This file checks that numbers and instances are given back by a device that goes (P3).

A number that came back may be given out again at once, or when its turn comes: an allocator may
give the lowest free one, or go round. A lost number of a device differs from both, since two ways
lead back; of a group only one does, and there a number has to be found again within the cycles.
"""

import errno
import itertools
import uuid
from collections.abc import Hashable, Sequence
from pathlib import Path

import pytest

from vfio_hw.host.binding import rebind, unbind
from vfio_hw.host.mdev import created, type_by_id
from vfio_hw.vfio.opened import opened

CYCLES = 6


def index(path: Path) -> int:
    """The number of the device: N of its vfioN."""
    (entry,) = (path / "vfio-dev").iterdir()
    minor = int((entry / "dev").read_text().partition(":")[2])
    assert entry.name == f"vfio{minor}", "name and device number are given together"
    return minor


def group_numbers(path: Path) -> tuple[str, str]:
    """Group number, and the device number of its node."""
    group = (path / "iommu_group").readlink().name
    return group, Path(f"/sys/class/vfio/{group}/dev").read_text().strip()


def moved(refused: int) -> set[int]:
    """How far the number moves on from one mtty to the next, with so many refused between them.

    The driver of mbochs refuses a device for which no memory is left, after it got its number.
    """
    full, kind = type_by_id("mbochs-large"), type_by_id("mtty-1")
    given, made = [], []
    try:
        while full.available_instances:
            made.append(full.create(str(uuid.uuid4())))
        for _ in range(CYCLES):
            with created(kind) as mdev:
                given.append(index(mdev.path))
            answers = [full.create_errno(str(uuid.uuid4())) for _ in range(refused)]
            assert answers == [errno.ENOSPC] * refused
    finally:
        for mdev in made:
            mdev.remove()
    return {after - before for before, after in itertools.pairwise(given)}


def moves() -> dict[int, set[int]]:
    """The same for several numbers of refused devices."""
    return {refused: moved(refused) for refused in (0, 1, 4)}


#: A number that is free again is given again; or each one that is taken moves the next one on.
AT_ONCE = {0: {0}, 1: {0}, 4: {0}}
IN_TURN = {0: {1}, 1: {2}, 4: {5}}


@pytest.mark.promise("P3")
@pytest.mark.promise("P7")
def test_the_number_of_a_device_comes_back_when_it_goes_and_when_it_is_refused():
    """One that is lost moves the next one on in one of both cases only."""
    assert moves() in (AT_ONCE, IN_TURN)


@pytest.mark.promise("P3")
def test_mediated_devices_created_one_after_the_other_find_their_numbers_again():
    """Half of the cycles find nothing but what the other half gave back."""
    kind = type_by_id("mtty-1")
    instances = kind.available_instances
    given, groups = [], []
    for _ in range(CYCLES):
        with created(kind) as mdev, opened(mdev.path, "vfio_type1v2_iommu"):
            assert kind.available_instances == instances - 1
            given.append(index(mdev.path))
            groups.append(group_numbers(mdev.path))
        assert kind.available_instances == instances
    assert found_again(given) or moves() == IN_TURN, f"numbers were not given back: {given}"
    assert found_again(groups), f"numbers were not given back: {groups}"


@pytest.mark.promise("P3")
def test_a_function_bound_again_and_again_finds_its_numbers_again(edu):
    given, groups = [], []
    for _ in range(CYCLES):
        unbind(edu)
        rebind(edu, "vfio-pci")
        with opened(edu.path, "iommufd"):
            given.append(index(edu.path))
            groups.append(group_numbers(edu.path))
    assert found_again(given) or moves() == IN_TURN, f"numbers were not given back: {given}"
    assert found_again(groups), f"numbers were not given back: {groups}"


def found_again(given: Sequence[Hashable]) -> bool:
    """The second half is nothing new: at most as many are out of use as there are cycles in one."""
    half = len(given) // 2
    return set(given[half:]) <= set(given[:half])
