"""The sample displays: one that is a region, one that is dma-bufs."""

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.fixtures.devices import target_named


@pytest.fixture(params=["mdpy", "mbochs"])
def display(request: pytest.FixtureRequest) -> Target:
    """Each kind of display in turn."""
    return target_named(request)
