"""What the tests of removals wait for."""

import time
from pathlib import Path

from vfio_hw.host.blocking import BlockingWrite


def must_begin(removal: BlockingWrite, node: Path, deadline: float) -> None:
    """The removal takes the node away within ``deadline`` seconds, and has not returned by then.

    It was started before, which says only that its write is about to be made. The node goes in
    vfio_unregister_group_dev() after the group has stopped to give the device.
    """
    end = time.monotonic() + deadline
    while node.exists():
        assert removal.wait(0.01) is None, f"it returned, and {node} is there"
        assert time.monotonic() < end, f"{node} is there {deadline:g} s after the removal began"
    assert removal.wait(0.0) is None, "removed while the device was open"
