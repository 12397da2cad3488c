"""What the kernel's drivers made of a device: disks, interfaces and nodes below it in sysfs."""

import os
from dataclasses import dataclass
from pathlib import Path

from vfio_hw.host.sysfs import attribute, link_name, names_in


@dataclass(frozen=True)
class Descendant:
    """A device of the kernel's that exists because the device above it has a driver.

    ``subsystem`` is its class or bus (``block``, ``net``, ``nvme``), ``node`` the numbers of its
    device node, None when it has none.
    """

    name: str
    subsystem: str
    path: Path
    node: tuple[int, int] | None


def descendants(device: Path, root: Path = Path("/")) -> list[Descendant]:
    """All below this directory of sysfs, and the disks that several controllers carry together.

    Of these also the character devices (ng0n1), through which commands go to the disk.
    """
    top = device.resolve()
    found = _below(top)
    subsystems = root / "sys/class/nvme-subsystem"
    for name in names_in(subsystems):
        # With native multipath a namespace belongs to its subsystem, and to no one controller.
        subsystem = (subsystems / name).resolve()
        members = [subsystem / entry for entry in names_in(subsystem)]
        if any(member.is_symlink() and member.resolve().is_relative_to(top) for member in members):
            found += [each for each in _below(subsystem) if each.node]
    return found


def node(path: Path) -> tuple[int, int] | None:
    """The numbers of the node of the device in this directory of sysfs."""
    text = attribute(path / "dev")
    if not text:
        return None
    major, _, minor = text.partition(":")
    return int(major), int(minor)


def _below(top: Path) -> list[Descendant]:
    found = []
    for directory, names, _ in os.walk(top):
        names.sort()
        path = Path(directory)
        subsystem = None if path == top else link_name(path / "subsystem")
        if subsystem is not None:
            found.append(Descendant(path.name, subsystem, path, node(path)))
    return found
