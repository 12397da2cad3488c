"""How much memory the kernel holds, so exactly that a few lost objects can be seen."""

import contextlib
import functools
import re
from pathlib import Path

from vfio_hw.errors import Unsupported

_SLABINFO = Path("/proc/slabinfo")
_CACHES = Path("/sys/kernel/slab")
_MEMINFO = Path("/proc/meminfo")
_READ = 65536


def slab_objects() -> dict[str, int]:
    """The objects in use in each slab cache, but for caches that the kernel empties when it likes.

    Free objects that a processor or the allocator of a debug kernel keeps back count as used, so
    every cache is shrunk first. Costs about 0.1 s under emulation.
    Source: Documentation/ABI/testing/sysfs-kernel-slab, shrink and reclaim_account; slabinfo(5).

    :raises Unsupported: the kernel shows no caches, or only to others.
    """
    kept = _kept()
    with contextlib.ExitStack() as stack:
        # A processor that needs an object takes dozens, and all count as used. So what takes any,
        # as opening a file does, comes before the caches are shrunk.
        slabs = stack.enter_context(_SLABINFO.open("rb", buffering=0))
        shrinks = [
            stack.enter_context((_CACHES / name / "shrink").open("wb", buffering=0))
            for name in kept
        ]
        slabs.read(1)
        # What held the objects of one cache is itself freed to another: so twice.
        for shrink in shrinks * 2:
            shrink.write(b"1")
        slabs.seek(0)
        listed = b"".join(iter(lambda: slabs.read(_READ), b"")).decode()
    found = {}
    for line in listed.splitlines()[2:]:
        name, active = line.split()[:2]
        if name in kept:
            found[name] = int(active)
    return found


def shrink(name: str) -> None:
    """Have a slab cache give back what it can; what waits for RCU follows when RCU lets it go."""
    with contextlib.suppress(FileNotFoundError):  # it went meanwhile
        (_CACHES / name / "shrink").write_text("1")


@functools.cache
def _kept() -> frozenset[str]:
    """The caches that are not reclaimable; none of them is ever made or lost by VFIO."""
    if not _CACHES.is_dir():
        raise Unsupported(f"there is no {_CACHES}: use a kernel with CONFIG_SLUB_DEBUG")
    names = (line.split()[0] for line in _SLABINFO.read_text().splitlines()[2:])
    return frozenset(
        name for name in names if (_CACHES / name / "reclaim_account").read_text().strip() == "0"
    )


def available_bytes() -> int:
    """Bytes that could be had without swapping.

    Source: Documentation/filesystems/proc.rst, MemAvailable.
    """
    found = re.search(r"^MemAvailable: +(\d+) kB$", _MEMINFO.read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024
