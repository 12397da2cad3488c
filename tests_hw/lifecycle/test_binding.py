"""This file checks that a function that was lent to vfio-pci goes back to its own driver (P9)."""

from collections.abc import Iterator

import pytest

from vfio_hw.fixtures.machine import loaded_driver
from vfio_hw.host.binding import bound_to, set_driver_override
from vfio_hw.host.pci import PciFunction
from vfio_hw.vfio.opened import opened

DRIVER = "e1000e"


@pytest.fixture
def native(free_e1000e: PciFunction) -> Iterator[PciFunction]:
    """The function, bound to the driver that it has on any machine, and with no override."""
    with loaded_driver(DRIVER), bound_to(free_e1000e, DRIVER):
        set_driver_override(free_e1000e, None)
        yield free_e1000e


@pytest.mark.promise("P9")
def test_the_driver_of_before_has_the_function_again(native: PciFunction):
    with bound_to(native, "vfio-pci"):
        assert native.driver == "vfio-pci"
        assert native.driver_override == "vfio-pci"
        with opened(native.path, "vfio_type1v2_iommu"):
            pass
    assert native.driver == DRIVER
    assert native.driver_override is None


@pytest.mark.promise("P9")
def test_whatever_happens_inside_the_driver_of_before_has_the_function_again(native: PciFunction):
    with pytest.raises(ZeroDivisionError), bound_to(native, "vfio-pci"):
        raise ZeroDivisionError
    assert native.driver == DRIVER
    assert native.driver_override is None


@pytest.mark.promise("P9")
def test_an_override_of_before_is_there_again(native: PciFunction):
    set_driver_override(native, DRIVER)
    try:
        with bound_to(native, "vfio-pci"):
            assert native.driver_override == "vfio-pci"
        assert native.driver == DRIVER
        assert native.driver_override == DRIVER
    finally:
        set_driver_override(native, None)
