"""Who holds a device, an address space or a virtual machine open."""

import re
from pathlib import Path

from vfio_hw.host.process import processes
from vfio_hw.host.sysfs import names_in

_HELD = re.compile(r"(?:anon_inode:\[?(?:vfio|iommufd)|/dev/(?:vfio/|iommu$)).*")


def holders(root: Path = Path("/")) -> list[str]:
    """One line for each descriptor and mapping of VFIO or IOMMUFD in any process.

    It opens files in /proc for every process and takes accordingly long: for a report only.
    """
    return [
        line
        for pid in processes(root / "proc")
        for line in descriptors_held(pid, root) + mappings_held(pid, root)
    ]


def descriptors_held(pid: int, root: Path = Path("/")) -> list[str]:
    """One line for each such descriptor of one process; none when it is gone or not ours to see."""
    held = []
    directory = root / "proc" / str(pid) / "fd"
    try:
        numbers = names_in(directory)
    except OSError:
        return []
    for number in sorted(numbers, key=int):
        try:
            target = str((directory / number).readlink())
        except OSError:
            continue
        if _HELD.match(target):
            held.append(f"descriptor {number}: {target}")
    return _with_owner(pid, root, held)


def mappings_held(pid: int, root: Path = Path("/")) -> list[str]:
    """One line for each such mapping of one process, which holds like a descriptor does.

    This waits for a process that is busy with its own address space, also when it hangs there.
    """
    held = []
    for line in _text(root / "proc" / str(pid) / "maps").splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and _HELD.match(fields[5]):
            held.append(f"mapping {fields[0]}: {fields[5]}")
    return _with_owner(pid, root, held)


def _with_owner(pid: int, root: Path, held: list[str]) -> list[str]:
    if not held:
        return []
    name = _text(root / "proc" / str(pid) / "comm").strip()
    return [f"pid {pid} ({name}) {what}" for what in held]


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
