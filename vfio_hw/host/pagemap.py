"""Where memory of this process is. Source: Documentation/admin-guide/mm/pagemap.rst."""

import os
from pathlib import Path

from vfio_hw.errors import HarnessError

PAGE = os.sysconf("SC_PAGESIZE")
_ENTRY = 8
_PRESENT, _FRAME = 1 << 63, (1 << 55) - 1


def physical(vaddr: int) -> int:
    """The physical address of what this process has in memory at ``vaddr``.

    It stays what it is only while something pins it.

    :raises HarnessError: nothing is in memory there, or this process may not know where.
    """
    with Path("/proc/self/pagemap").open("rb", buffering=0) as pagemap:
        pagemap.seek(vaddr // PAGE * _ENTRY)
        entry = int.from_bytes(pagemap.read(_ENTRY), "little")
    frame = entry & _FRAME
    if not entry & _PRESENT or not frame:
        raise HarnessError(
            f"/proc/self/pagemap tells of no page at {vaddr:#x}: touch it first, and be root"
        )
    return frame * PAGE + vaddr % PAGE
