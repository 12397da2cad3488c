"""This file checks that a region that a device does not have is not reached by its offset (P8).

VFIO_DEVICE_GET_REGION_INFO answers for every index below num_regions, with a size of 0 where there
is no region. Source: linux/vfio.h. What it says of the offset then is that of another region, or
one where nothing is.
"""

import contextlib
import errno

import pytest

from vfio_hw.errors import KernelRefused
from vfio_hw.fixtures import Target
from vfio_hw.vfio.descriptor import errno_of
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.opened import opened
from vfio_hw.vfio.region import Region

REFUSED = (errno.EINVAL, errno.EFAULT)
# What a serial port has there is not changed by a write: a kernel that lets it through is not hurt.
OFFSET = 5


def absent(device: Device) -> list[Region]:
    """Regions that are not there, at offsets that are those of no other."""
    found = []
    for index in range(device.info().num_regions):
        with contextlib.suppress(KernelRefused):
            found.append(device.region(index))
    taken = [range(region.offset, region.offset + region.size) for region in found]
    return [
        region
        for region in found
        if not region.size and not any(region.offset + OFFSET in span for span in taken)
    ]


@pytest.mark.promise("P8")
def test_a_region_that_is_not_there_is_neither_read_nor_written(device: Target):
    with opened(device.path, "vfio_type1v2_iommu") as user:
        regions = absent(user.device)
        assert regions
        through = [
            f"{what} of region {region.index}"
            for region in regions
            for what, call in (
                ("read", lambda r=region: r.read(OFFSET, 1)),
                ("write", lambda r=region: r.write(OFFSET, bytes(1))),
            )
            if errno_of(call)() not in REFUSED
        ]
        assert not through
