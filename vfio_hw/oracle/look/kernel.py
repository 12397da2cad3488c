"""What the kernel holds for VFIO: modules, nodes, groups, directories, interrupts, buffers."""

import re
from collections import Counter

from vfio_hw.oracle.look.files import lines, names

_MODULES = ("vfio", "iommufd", "mdev", "mtty", "mdpy", "mbochs", "kvm")
_PLACES = (
    "/dev/vfio",
    "/dev/vfio/devices",
    "/sys/class/vfio",
    "/sys/class/vfio-dev",
    "/sys/kernel/iommu_groups",
    "/sys/bus/mdev/devices",
    "/sys/kernel/debug/vfio",
)
# These come with a module and the first device, and stay or go with them: no device's leftovers.
_NOT_OF_A_DEVICE = {"vfio", "devices"}
_VIRTUAL_MACHINES = "/sys/kernel/debug/kvm"
_VIRTUAL_MACHINE = re.compile(r"\d+-\d+")  # PID-FD; the other files there are statistics
_HANDLER = re.compile(r"\bvfio-[^\s,]+")
# 0xSTART-0xEND SIZE CALLER+0xOFFSET/0xLENGTH [MODULE] ...; 6.1 to 7.3: mm/vmalloc.c.
_BUFFER = re.compile(r"\S+ +(\d+) \S+ \[(\w+)\]")


def references(root: str) -> dict[str, int]:
    """References of modules, less those that other modules hold: these change with loading.

    Only of VFIO's and of those that it uses; none that is built in.
    """
    counts = {}
    for line in lines(f"{root}/proc/modules"):
        name, _, count, users = line.split()[:4]
        if name.startswith(_MODULES):
            # "[permanent]," and the like stand among the users and hold nothing.
            others = sum(bool(user) and user[0] not in "-[" for user in users.split(","))
            counts[f"module {name}: references"] = int(count) - others
    return counts


def places(root: str) -> dict[str, frozenset[str]]:
    """The names of devices, groups and virtual machines wherever they appear."""
    entries = {place: frozenset(names(root + place)) - _NOT_OF_A_DEVICE for place in _PLACES}
    machines = filter(_VIRTUAL_MACHINE.fullmatch, names(root + _VIRTUAL_MACHINES))
    return entries | {_VIRTUAL_MACHINES: frozenset(machines)}


def interrupt_handlers(root: str) -> dict[str, frozenset[str]]:
    """The names under which VFIO has requested interrupts.

    /sys/kernel/irq has them too, one file for each interrupt.
    """
    handlers: set[str] = set()
    for line in lines(f"{root}/proc/interrupts"):
        handlers.update(_HANDLER.findall(line))
    return {"interrupt handlers of VFIO": frozenset(handlers)}


def buffers(root: str) -> dict[str, int]:
    """Bytes of vmalloc memory that the functions of each of these modules have asked for.

    The text of a module itself is not among it: the module loader asks for that.
    """
    sizes = Counter({name: 0 for name in names(f"{root}/sys/module") if name.startswith(_MODULES)})
    for line in lines(f"{root}/proc/vmallocinfo"):
        match = _BUFFER.match(line)
        if match and match[2] in sizes:
            sizes[match[2]] += int(match[1])
    return {f"module {name}: vmalloc (bytes)": size for name, size in sizes.items()}


def claimed_regions(root: str) -> dict[str, int]:
    """How many I/O regions VFIO has claimed: it does so when a region is first used."""
    found = [line for line in lines(f"{root}/proc/iomem") if line.endswith(" : vfio")]
    return {"I/O regions claimed by VFIO": len(found)}
