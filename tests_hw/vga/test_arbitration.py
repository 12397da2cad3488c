"""This file checks who has the legacy addresses of VGA, and when nobody has them (P8)."""

import contextlib
import errno
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from vfio_hw.devices.vga import MAP_MASK, VGA, Graphics
from vfio_hw.host import modules
from vfio_hw.host.binding import bound_to
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.vga_arbiter import decoded, locked
from vfio_hw.vfio.opened import opened

WAITS = 0.3  # seconds in which whoever does not wait has long been done
DONE = 10.0


@pytest.mark.promise("P8")
def test_an_access_waits_for_who_has_the_legacy_addresses(both: list[Graphics], free):
    """And it has them once they are given back, of which its register tells."""
    both[0].put_in_bar(MAP_MASK, 0x1)
    with ThreadPoolExecutor(1) as pool:
        with locked(free[1].address):
            access = pool.submit(both[0].put_by_port, MAP_MASK, 0x6)
            with contextlib.suppress(TimeoutError):
                access.result(WAITS)
            assert both[0].in_bar(MAP_MASK) == 0x1
            assert not access.done()
        access.result(DONE)
    assert both[0].in_bar(MAP_MASK) == 0x6


@pytest.fixture
def without_vga(own_modules) -> Iterator[None]:
    """vfio-pci leaves legacy VGA alone. Source: modinfo vfio-pci, disable_vga."""
    modules.unload("vfio-pci")
    modules.load("vfio-pci", "disable_vga=1")
    yield
    modules.unload("vfio-pci")


def has_region(function: PciFunction) -> bool:
    """Whether it has the region: one that is not there has no size, or is refused."""
    with bound_to(function), opened(function.path, "vfio_type1v2_iommu") as user:
        if refused := user.device.region_errno(VGA):
            assert refused == errno.EINVAL
            return False
        return user.device.region(VGA).size > 0


@pytest.mark.promise("P8")
def test_the_legacy_addresses_are_left_alone_where_that_is_asked_for(without_vga, free):
    """Then the function has no region of them, and the arbiter knows that it decodes none."""
    for function in free:
        before = decoded(function.address)
        assert not has_region(function)
        with bound_to(function):
            assert decoded(function.address) == "none"
        assert decoded(function.address) == before


@pytest.mark.promise("P8")
def test_the_legacy_addresses_are_decoded_where_vfio_has_them(free):
    for function in free:
        with bound_to(function):
            assert decoded(function.address) == "io+mem"
        assert has_region(function)
