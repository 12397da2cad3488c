"""A device that comes and goes as a whole, in a slot."""

import contextlib
import errno
from collections.abc import Iterator

import pytest

from vfio_hw.host.binding import rebind
from vfio_hw.host.hypervisor import Hypervisor
from vfio_hw.host.plugging import Plugged

#: Of opening a device's node anew: it is taken away, what it leads to is gone, or going.
GONE = (errno.ENOENT, errno.ENXIO, errno.ENODEV)


@pytest.fixture(params=["edu", "e1000e", "nvme"])
def plugged(request: pytest.FixtureRequest, qmp: Hypervisor) -> Iterator[Plugged]:
    """A device of each kind in turn, plugged in and bound to vfio-pci; pulled out again after."""
    with in_slot(qmp, request.param) as one:
        yield one


@contextlib.contextmanager
def in_slot(qmp: Hypervisor, kind: str) -> Iterator[Plugged]:
    """A device in the slot, bound to vfio-pci; the slot is empty after."""
    with Plugged(qmp, kind) as one:
        rebind(one.function, "vfio-pci")
        yield one
