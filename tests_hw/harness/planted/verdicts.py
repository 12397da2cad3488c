"""Tests that leave faults behind in full view of all oracles: each must fail, as it deserves."""

import os

import pytest

from vfio_hw.host.mdev import created, type_by_id

LEFT = []


def test_a_leak_and_a_warning(mtty, crash):
    LEFT.append(os.open(f"/dev/vfio/{mtty.iommu_group}", os.O_RDWR))
    crash("WARNING")


def test_a_mediated_device_is_left():
    LEFT.append(created(type_by_id("mtty-2")))
    LEFT[-1].__enter__()


def test_the_end_of_the_kernel(crash):
    crash("BUG")


@pytest.mark.iommu_faults("edu")
def test_a_fault_that_was_declared_and_does_not_come(edu):
    pass


@pytest.mark.iommu_faults("edu")
def test_what_was_declared_is_not_owed_by_a_test_that_is_skipped():
    pytest.skip("on purpose")


def test_nothing_is_wrong(mtty):
    assert mtty.exists
