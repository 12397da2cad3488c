"""One look at everything that must be after a test as it was before.

It is taken twice for every test, so it lists directories and reads small files, and nothing else.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from vfio_hw.host.sysfs import attribute, names_in
from vfio_hw.oracle.children import descendants

_MODULES = ("vfio", "iommufd", "mdev", "mtty", "mdpy", "mbochs", "kvm")
_PLACES = (
    "dev/vfio",
    "dev/vfio/devices",
    "sys/class/vfio",
    "sys/class/vfio-dev",
    "sys/kernel/iommu_groups",
    "sys/bus/mdev/devices",
)
# These come with a module and the first device, and stay or go with them: no device's leftovers.
_NOT_OF_A_DEVICE = {"vfio", "devices"}
_NUMBER = re.compile(r":\[\d+\]$")


@dataclass(frozen=True)
class Snapshot:
    """How things are.

    ``counters`` are compared when both snapshots have them (a module may be loaded in between),
    ``entries`` are the names in a place, ``own`` are amounts of our own process.
    """

    counters: dict[str, int] = field(default_factory=dict)
    entries: dict[str, frozenset[str]] = field(default_factory=dict)
    own: dict[str, int] = field(default_factory=dict)


def taken(root: Path = Path("/")) -> Snapshot:
    """How things are now."""
    entries = {
        f"/{place}": frozenset(names_in(root / place)) - _NOT_OF_A_DEVICE for place in _PLACES
    }
    entries |= _pci(root / "sys/bus/pci")
    own = _descriptors(root / "proc/self/fd") | _memory(root / "proc/self/status")
    return Snapshot(_modules(root / "sys/module") | _instances(root), entries, own)


def _modules(directory: Path) -> dict[str, int]:
    """References of modules, less those that other modules hold: these change with loading."""
    counts = {}
    for name in names_in(directory):
        if name.startswith(_MODULES):
            count = attribute(directory / name / "refcnt")
            if count is not None:
                others = len(names_in(directory / name / "holders"))
                counts[f"module {name}: references"] = int(count) - others
    return counts


def _instances(root: Path) -> dict[str, int]:
    parents = root / "sys/class/mdev_bus"
    counts = {}
    for parent in names_in(parents):
        types = parents / parent / "mdev_supported_types"
        for kind in names_in(types):
            count = attribute(types / kind / "available_instances")
            if count is not None:
                counts[f"mdev type {kind} of {parent}: available instances"] = int(count)
    return counts


def _pci(bus: Path) -> dict[str, frozenset[str]]:
    """Functions lent to vfio-pci, and those that only one driver may bind."""
    lent = frozenset(name for name in names_in(bus / "drivers/vfio-pci") if ":" in name)
    entries = {"PCI functions bound to vfio-pci": lent}
    # Older kernels (6.12) take the device's lock to read an override. A child of ours that waits
    # in an unbind holds that lock, and then this would wait with it.
    if not descendants():
        overrides = (
            (name, attribute(bus / "devices" / name / "driver_override"))
            for name in names_in(bus / "devices")
        )
        entries["PCI functions with a driver_override"] = frozenset(
            f"{name} {driver}" for name, driver in overrides if driver not in (None, "", "(null)")
        )
    return entries


def _descriptors(directory: Path) -> dict[str, int]:
    targets: Counter[str] = Counter()
    for number in names_in(directory):
        try:
            target = str((directory / number).readlink())
        except OSError:  # the descriptor that listed the directory
            continue
        targets[f"own open descriptors of {_NUMBER.sub('', target)}"] += 1
    return dict(targets)


def _memory(status: Path) -> dict[str, int]:
    """Locked and pinned memory. Source: Documentation/filesystems/proc.rst, VmLck and VmPin."""
    text = attribute(status) or ""
    return {
        f"own {name} (kB)": int(size) for name, size in re.findall(r"(VmLck|VmPin):\s*(\d+)", text)
    }
