"""The sample displays: one that is a region, one that is dma-bufs."""

import pytest

from vfio_hw.fixtures import Target


@pytest.fixture(params=["mdpy", "mbochs"])
def display(request: pytest.FixtureRequest) -> Target:
    """Each kind of display in turn."""
    handle = request.getfixturevalue(request.param)
    return Target(request.param, handle.uuid, handle.path, handle)
