"""The memory of a guest whose kernel has panicked, kept for those who look into it."""

from pathlib import Path

from vfio_hw.errors import MachineLost
from vfio_hw.vm.qmp import Qmp

# Two gigabytes take some seconds, most of them to be compressed.
_SECONDS = 300.0


def dumped(monitor: Qmp, path: Path) -> str:
    """Stop the guest and write its memory, as crash(8) and drgn read it; says what came of it.

    Source: dump-guest-memory in the reference of QEMU's machine protocol; the format is kdump's,
    compressed, without the pages that are all zero.
    """
    wanted = {"paging": False, "protocol": f"file:{path.absolute()}", "format": "kdump-zlib"}
    try:
        monitor.answer("stop", {}, deadline=10.0)
        monitor.answer("dump-guest-memory", wanted, deadline=_SECONDS)
    except MachineLost as error:
        path.unlink(missing_ok=True)
        return f"the guest's memory could not be kept: {error}"
    return f"the guest's memory is in {path}"
