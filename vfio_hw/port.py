"""Where a session of tests writes its events."""

from pathlib import Path

import pytest

from vfio_hw.host.virtio_port import quickest
from vfio_hw.report.events import PORT


def port_of(config: pytest.Config) -> Path | None:
    """What ``--events`` names, or what is quicker than that serial port; None: they go nowhere."""
    if not config.option.events:
        return None
    named = Path(config.option.events)
    return quickest(named) if named == PORT else named
