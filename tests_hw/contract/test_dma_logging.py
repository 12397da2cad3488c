"""This file checks what the logging of a device's DMA refuses (P8), and that it goes on (P7).

Source: linux/vfio.h, VFIO_DEVICE_FEATURE_DMA_LOGGING_START, _STOP, _REPORT.
"""

import errno

import pytest

from vfio_hw.devices.kinds import need_features
from vfio_hw.uapi import lib
from vfio_hw.vfio.dma import PAGE
from vfio_hw.vfio.dma_logging import (
    MOST_RANGES,
    logged,
    logged_errno,
    start_logging,
    start_logging_at_errno,
    start_logging_errno,
    stop_logging,
    stop_logging_errno,
)
from vfio_hw.vfio.feature import GET, SET, feature_errno
from vfio_hw.vfio.opened import opened

MODES = ["vfio_type1v2_iommu", "iommufd"]
START = lib.VFIO_DEVICE_FEATURE_DMA_LOGGING_START
REPORT = lib.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT
TOP = 2**64
#: Of a start while logging is on: linux/vfio.h names no error; those of the drivers mlx5 and pds.
STARTED = (errno.EINVAL, errno.EEXIST)
GOOD = [(0, PAGE), (4 * PAGE, 2 * PAGE)]


@pytest.fixture(params=MODES)
def device(request, mtty):
    """An open device that can log; what is refused must leave it able to."""
    with opened(mtty.path, request.param) as user:
        need_features(user.device, "mtty", "DMA_LOGGING_START")
        yield user.device
        chosen = start_logging(user.device, GOOD)
        assert chosen.bit_count() == 1
        # Of the one page; a bit of any other would tell of pages that nobody asked for.
        assert int.from_bytes(logged(user.device, 0, PAGE), "little") <= 1
        stop_logging(user.device)


@pytest.mark.promise("P8")
def test_as_many_ranges_as_fit_into_a_page_are_taken_and_not_one_more(device):
    """Source: "guarantees to support by minimum num_ranges that fit into a single kernel page"."""
    ranges = [(2 * PAGE * number, PAGE) for number in range(MOST_RANGES + 1)]
    assert start_logging_errno(device, ranges[:-1]) == 0
    stop_logging(device)
    for ranges_given in (ranges, ranges * 2):
        assert start_logging_errno(device, ranges_given) == errno.E2BIG
    assert start_logging_at_errno(device, 0, 2**32 - 1) == errno.E2BIG
    assert start_logging_errno(device, []) == errno.EINVAL


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ([(1, PAGE)], errno.EINVAL),
        ([(0, PAGE + 1)], errno.EINVAL),
        ([(0, PAGE - 1)], errno.EINVAL),
        ([(0, PAGE), (PAGE // 2, PAGE)], errno.EINVAL),
        ([(0, 2 * PAGE), (PAGE, PAGE)], errno.EINVAL),
        ([(PAGE, PAGE), (PAGE, PAGE)], errno.EINVAL),
        ([(PAGE, PAGE), (0, 4 * PAGE)], errno.EINVAL),
        ([(8 * PAGE, 8 * PAGE), (0, PAGE), (15 * PAGE, PAGE)], errno.EINVAL),
        ([(TOP - PAGE, 2 * PAGE)], errno.EOVERFLOW),
        ([(PAGE, TOP - PAGE)], errno.EOVERFLOW),
        ([(0, PAGE), (TOP // 2, TOP // 2)], errno.EOVERFLOW),
    ],
    ids=str,
)
def test_ranges_that_are_off_overlap_or_wrap_are_refused(device, ranges, expected):
    assert start_logging_errno(device, ranges) == expected
    assert start_logging_errno(device, [(1 << 40, PAGE), *ranges]) == expected


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_ranges_that_can_not_be_read_are_refused(device):
    """No process has its first page, nor its last."""
    for address in (0, 8, TOP - PAGE):
        assert start_logging_at_errno(device, address, 1) == errno.EFAULT


@pytest.mark.promise("P8")
def test_data_of_logging_that_are_too_short_are_refused(device):
    for length in (0, 8, 23):
        assert feature_errno(device, START | SET, bytes(length)) == errno.EINVAL
    for length in (0, 8, 31):
        assert feature_errno(device, REPORT | GET, bytes(length)) == errno.EINVAL


@pytest.mark.promise("P8")
def test_a_report_is_of_pages_whose_size_is_a_power_of_two_and_does_not_wrap(device):
    start_logging(device, [(0, 64 * PAGE)])
    for size in (0, PAGE - 1, PAGE + 1, 3 * PAGE, TOP - 1):
        assert logged_errno(device, 0, 64 * PAGE, size) == errno.EINVAL, f"{size:#x}"
    for iova, length in ((TOP - PAGE, 2 * PAGE), (PAGE, TOP - PAGE), (TOP // 2, TOP // 2)):
        assert logged_errno(device, iova, length) == errno.EOVERFLOW
    for size in (PAGE, 2 * PAGE, 1 << 30):
        assert logged_errno(device, 0, 64 * PAGE, size) == 0
    stop_logging(device)


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_another_start_is_not_taken_before_the_stop(device):
    """Neither of the same ranges nor of others; the logging goes on, and one stop ends it."""
    start_logging(device, GOOD)
    for ranges in (GOOD, [(1 << 40, PAGE)]):
        answer = start_logging_errno(device, ranges)
        assert answer, "another start was taken while logging was on"
        assert answer in STARTED
        assert logged_errno(device, *GOOD[1]) == 0
    stop_logging(device)
    assert start_logging_errno(device, GOOD) == 0
    stop_logging(device)


@pytest.mark.promise("P8")
def test_there_is_no_report_of_what_is_not_logged(device):
    """Neither before the first start nor after a stop, whose own answer then is nowhere said."""
    for _ in range(2):
        answer = logged_errno(device, *GOOD[0])
        assert answer, "there was a report though nothing was logged"
        assert answer == errno.EINVAL
        start_logging(device, GOOD)
        assert logged_errno(device, *GOOD[0]) == 0
        stop_logging(device)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("pages", [1, 63, 64, 65, 8 * PAGE, 8 * PAGE + 1])
def test_a_report_clears_no_bit_of_the_bitmap(device, pages):
    """Nor one behind the range; of a bitmap that has more than a page, in none of its parts."""
    start_logging(device, [(0, pages * PAGE)])
    room = -(-pages // 64) * 8 + 16
    for byte in (0xFF, 0xA5, 0x5A):
        given = bytes([byte]) * room
        told = logged(device, 0, pages * PAGE, bitmap=given)
        assert bytes(one & byte for one in told) == given
    stop_logging(device)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("kind", ["mdpy", "mbochs", "edu", "e1000e"])
def test_a_device_that_can_not_log_says_so_whatever_it_is_given(request, kind):
    with opened(request.getfixturevalue(kind).path, MODES[0]) as user:
        for ranges in (GOOD, [], [(1, 1)], [(0, PAGE)] * (MOST_RANGES + 1)):
            assert start_logging_errno(user.device, ranges) == errno.ENOTTY
        assert stop_logging_errno(user.device) == errno.ENOTTY
        assert logged_errno(user.device, 0, PAGE) == errno.ENOTTY
        assert logged_errno(user.device, TOP - PAGE, TOP - 1, 3) == errno.ENOTTY
