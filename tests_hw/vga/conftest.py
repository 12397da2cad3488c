"""Two graphics functions, of which one at a time has the legacy addresses of VGA."""

import contextlib
from collections.abc import Iterator

import pytest

from vfio_hw.devices.vga import Graphics
from vfio_hw.errors import Unsupported
from vfio_hw.fixtures.devices import may_take
from vfio_hw.host.binding import bound_to
from vfio_hw.host.inventory import functions
from vfio_hw.host.pci import PciFunction
from vfio_hw.vfio.opened import opened

# QEMU's standard VGA. Source: QEMU, docs/specs/standard-vga.rst.
_STANDARD_VGA = "1234:1111"


@pytest.fixture
def free(pytestconfig: pytest.Config) -> list[PciFunction]:
    """The two functions, which nothing is bound to.

    :raises Unsupported: there are not two that the tests may take.
    """
    found = [each for each in functions(PCI_ID=_STANDARD_VGA) if may_take(pytestconfig, each)]
    if len(found) != 2:
        raise Unsupported("not two functions that are QEMU's standard VGA")
    return found


@pytest.fixture
def both(free: list[PciFunction]) -> Iterator[list[Graphics]]:
    """The two, open."""
    with contextlib.ExitStack() as stack:
        yield [
            Graphics(
                stack.enter_context(
                    opened(stack.enter_context(bound_to(each)).path, "vfio_type1v2_iommu")
                ).device
            )
            for each in free
        ]


@pytest.fixture
def graphics(both: list[Graphics]) -> Graphics:
    """One of them; the other one is open too."""
    return both[0]
