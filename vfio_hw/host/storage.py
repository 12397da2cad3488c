"""What stands on a disk: file systems, swap, arrays, mappings, and signatures of what is idle."""

import errno
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vfio_hw.host.descendants import node
from vfio_hw.host.process import processes
from vfio_hw.host.signatures import signature
from vfio_hw.host.sysfs import attribute, names_in

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Use:
    """One thing that a disk is used for: which rule speaks of it, and a sentence's end."""

    rule: str  #: ``mounted``, ``swap``, ``md``, ``dm``, ``lvm``, ``zfs``, ``claimed``, ``unread``
    text: str


class Storage:
    """What the disks of this machine carry, as it was when this was made.

    A file system that is mounted in any mount namespace counts.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._mounts, self._swaps = _mounts(root), _swaps(root)

    def uses(self, name: str) -> list[Use]:
        """What the disk or partition of this name in /sys/class/block carries, also stacked."""
        return list(self._uses(name, set()))

    def _uses(self, name: str, seen: set[str]) -> Iterator[Use]:
        path = self._root / "sys/class/block" / name
        numbers = node(path)
        if name in seen or numbers is None:
            return
        seen.add(name)
        told = False
        if numbers in self._mounts:
            told = True
            yield Use("mounted", f"{name} is mounted on {self._mounts[numbers]}")
        if numbers in self._swaps:
            told = True
            yield Use("swap", f"{name} is swapped to")
        for holder in names_in(path / "holders"):
            told = True
            yield _holder(name, holder, self._root)
            yield from self._uses(holder, seen)
        if not told:
            yield from _looked_at(name, numbers, self._root)


def _holder(name: str, holder: str, root: Path) -> Use:
    path = root / "sys/class/block" / holder
    mapping = attribute(path / "dm/name")
    if mapping is not None:
        if (attribute(path / "dm/uuid") or "").startswith("LVM-"):
            return Use("lvm", f"{name} is part of the LVM volume {mapping}")
        return Use("dm", f"{name} is part of the mapping {mapping} ({holder})")
    level = attribute(path / "md/level")
    if level is not None or (path / "md").is_dir():
        return Use("md", f"{name} is part of the array {holder} ({level or 'no level'})")
    return Use("claimed", f"{name} is part of {holder}")


def _looked_at(name: str, numbers: tuple[int, int], root: Path) -> Iterator[Use]:
    """What only the disk itself can tell: that the kernel has claimed it, and for whom it is."""
    path = root / "dev" / name.replace("!", "/")
    try:
        status = path.stat()
        if root == Path("/") and (
            not stat.S_ISBLK(status.st_mode)
            or (os.major(status.st_rdev), os.minor(status.st_rdev)) != numbers
        ):
            yield Use("unread", f"{path} is not the node of {name}, which so can not be looked at")
            return
        # O_EXCL on a disk: EBUSY while the kernel has claimed it, for whatever it is.
        descriptor = os.open(path, os.O_RDONLY | os.O_EXCL | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EBUSY:
            # A disk is claimed when one of its partitions is; they have said already what for.
            if not _has_partitions(name, root):
                yield Use("claimed", f"{name} is claimed by something in the kernel")
        elif error.errno not in (errno.ENXIO, errno.ENOMEDIUM):
            yield Use("unread", f"{name} can not be looked at ({os.strerror(error.errno or 0)})")
        return
    try:
        if found := signature(descriptor):
            yield Use(found.rule, f"{name} is {found.text}")
    finally:
        os.close(descriptor)


def _has_partitions(name: str, root: Path) -> bool:
    directory = root / "sys/class/block" / name
    return any((directory / entry / "partition").exists() for entry in names_in(directory))


def _mounts(root: Path) -> dict[tuple[int, int], str]:
    found: dict[tuple[int, int], str] = {}
    for pid in _one_of_each_namespace(root):
        try:
            text = (root / f"proc/{pid}/mountinfo").read_text(errors="surrogateescape")
        except OSError:  # it has ended
            continue
        for line in text.splitlines():
            fields = line.split(" ")
            major, _, minor = fields[2].partition(":")
            where = _plain(fields[4])
            found.setdefault((int(major), int(minor)), where)
            # btrfs has numbers of its own: there the source tells.
            source = fields[fields.index("-") + 2]
            if source.startswith("/") and (numbers := _numbers(root, _plain(source))):
                found.setdefault(numbers, where)
    return found


def _one_of_each_namespace(root: Path) -> list[str]:
    """A process in each mount namespace; "self" for ours."""
    spaces = {_namespace(root, "self"): "self"}
    for pid in processes(root / "proc"):
        space = _namespace(root, str(pid))
        if space is not None:
            spaces.setdefault(space, str(pid))
    return list(spaces.values())


def _namespace(root: Path, pid: str) -> str | None:
    try:
        return str((root / "proc" / pid / "ns/mnt").readlink())
    except OSError:
        return None


def _swaps(root: Path) -> dict[tuple[int, int], str]:
    text = attribute(root / "proc/swaps") or ""
    names = (_plain(line.split()[0]) for line in text.splitlines()[1:])
    return {numbers: name for name in names if (numbers := _numbers(root, name))}


def _numbers(root: Path, path: str) -> tuple[int, int] | None:
    try:
        status = (root / path.lstrip("/")).stat()
    except (OSError, ValueError):
        return None
    if not stat.S_ISBLK(status.st_mode):
        return None
    return os.major(status.st_rdev), os.minor(status.st_rdev)


def _plain(text: str) -> str:
    """Without the octal escapes of the tables in /proc."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
