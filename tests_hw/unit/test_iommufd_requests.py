"""This file checks the table of good requests of an iommufd, without any device."""

from vfio_hw.fixtures.iommufd import GOOD, sizes_of, struct_of
from vfio_hw.uapi import ffi
from vfio_hw.uapi.family import REQUESTS


def test_every_declared_request_of_an_iommufd_is_in_the_table():
    assert set(GOOD) == {name for name in REQUESTS if name.startswith("IOMMU_")}


def test_a_request_has_a_struct_that_begins_with_its_size():
    for name in GOOD:
        first, _ = ffi.typeof(f"struct {struct_of(name)}").fields[0]
        assert first == "size"
        shortest, whole = sizes_of(name)
        assert 8 <= shortest <= whole
