"""Who holds a device, an address space or a virtual machine open."""

import re
from pathlib import Path

from vfio_hw.host.sysfs import names_in

_HELD = re.compile(r"(?:anon_inode:\[?(?:vfio|iommufd)|/dev/(?:vfio/|iommu$)).*")


def holders(root: Path = Path("/")) -> list[str]:
    """One line for each descriptor and mapping of VFIO or IOMMUFD in any process.

    It opens files in /proc for every process and takes accordingly long: for a report only.
    """
    lines = []
    for pid in filter(str.isdigit, names_in(root / "proc")):
        process = root / "proc" / pid
        held = _descriptors(process) + _mappings(process)
        if held:
            name = _text(process / "comm").strip()
            lines += [f"pid {pid} ({name}) {what}" for what in held]
    return lines


def _descriptors(process: Path) -> list[str]:
    held = []
    try:
        numbers = names_in(process / "fd")
    except OSError:  # it ended meanwhile, or is not ours to see
        return []
    for number in numbers:
        try:
            target = str((process / "fd" / number).readlink())
        except OSError:
            continue
        if _HELD.match(target):
            held.append(f"descriptor {number}: {target}")
    return held


def _mappings(process: Path) -> list[str]:
    held = []
    for line in _text(process / "maps").splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and _HELD.match(fields[5]):
            held.append(f"mapping {fields[0]}: {fields[5]}")
    return held


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
