"""Whether this machine is a guest of ours, in which everything is the harness's to take."""

import os
from pathlib import Path

from vfio_hw.host.modules import IN_GUEST

#: A word on the command line of the kernel of every guest; vfio_hw/vm/qemu.py puts it there.
PARAMETER = "vfio-hw.guest"
_COMMAND_LINE = Path("/proc/cmdline")


def disbelieve() -> None:
    """The environment says that this is a guest of ours only where its kernel says so, too.

    A guest whose environment does not is as any other machine.
    """
    if PARAMETER not in _COMMAND_LINE.read_text(errors="replace").split():
        os.environ.pop(IN_GUEST, None)
