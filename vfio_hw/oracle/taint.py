"""The faults that a kernel has noted of itself, which it remembers until it is booted anew."""

from pathlib import Path

TAINTED = Path("/proc/sys/kernel/tainted")

# Source: Documentation/admin-guide/tainted-kernels.rst.
_FAULTS = {5: "bad page", 7: "oops", 9: "warning", 14: "soft lockup"}


def faults(path: Path = TAINTED) -> frozenset[str]:
    """The kinds of fault there were, each told once however often it was; none if nobody knows."""
    try:
        bits = int(path.read_text())
    except (OSError, ValueError):
        return frozenset()
    return frozenset(name for bit, name in _FAULTS.items() if bits >> bit & 1)
