"""What stands on a disk: file systems, swap, arrays, mappings, and signatures of what is idle."""

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vfio_hw.host.backing import Backed, Node, backed, nodes_at
from vfio_hw.host.descendants import node
from vfio_hw.host.disk import Look
from vfio_hw.host.process import processes
from vfio_hw.host.sysfs import attribute, lines_of, names_in

# What is told of disks, by their numbers; and of such as nobody knows, in words.
_Told = tuple[dict[tuple[int, int], str], list[str]]
# Source: Documentation/filesystems/proc.rst, filesystems.
_NODEV = "nodev\t"
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Use:
    """One thing that a disk is used for: which rule speaks of it, and a sentence's end."""

    #: ``mounted``, ``swap``, ``md``, ``dm``, ``lvm``, ``zfs``, ``loop``, ``exported``, ``claimed``,
    #: ``unread``
    rule: str
    text: str


class Storage:
    """What the disks of this machine carry, as it was when this was made.

    A file system that is mounted in any mount namespace counts.

    :param claim: claim each disk that shows no use for a moment, which is what tells of uses that
        the kernel shows nowhere; whoever wants to use the disk in that moment gets EBUSY.
    """

    def __init__(self, root: Path = Path("/"), *, claim: bool = True) -> None:
        self._root = root
        (self._mounts, mounted), (self._swaps, swapped) = _mounts(root), _swaps(root)
        self._unknown = [*mounted, *swapped]
        self._backed, self._look = backed(root), Look(root, claim=claim)

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
        for each in self._on(("b", *numbers)):
            told = True
            yield _backing(name, each)
            yield from self._uses(each.disk, seen)
        if told:
            return
        yield from (Use("unread", f"{name} may be {each}") for each in self._unknown)
        if found := self._look.at(name, numbers):
            yield Use(found[0], f"{name} {found[1]}")

    def exports(self, name: str, numbers: tuple[int, int]) -> list[Use]:
        """What the character device of this name and these numbers is used for in the kernel."""
        # Where nobody can tell which node it is, the disks tell of it.
        return [_backing(name, each) for each in self._on(("c", *numbers)) if each.node]

    def _on(self, its: Node) -> Iterator[Backed]:
        return (each for each in self._backed if each.node in (its, None))


def _backing(name: str, each: Backed) -> Use:
    if each.node is None:
        return Use(each.rule, f"{name} may be under {each.text} {each.path}".rstrip())
    return Use(each.rule, f"{name} is under {each.text}")


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


def _mounts(root: Path) -> _Told:
    found: dict[tuple[int, int], str] = {}
    needed: dict[str, str] = {}
    others: dict[str, str] = {}
    kinds = lines_of(root / "proc/filesystems")
    nodev = {line.removeprefix(_NODEV) for line in kinds if line.startswith(_NODEV)}
    for threads in _by_namespace(root):
        for line in _mountinfo(threads):
            fields = line.split(" ")
            major, _, minor = fields[2].partition(":")
            where = _plain(fields[4])
            found.setdefault((int(major), int(minor)), where)
            kind, source = fields[fields.index("-", 6) + 1 :][:2]
            if major == "0" and source.startswith("/"):
                sources = others if kind.partition(".")[0] in nodev else needed
                sources.setdefault(_plain(source), where)
    # btrfs has numbers of its own: there the source tells. What needs no disk any user may have
    # mounted, from wherever he likes: it comes last, and where it leads nowhere that is so.
    disks, unknown = _disks([*needed, *others], root)
    for source, numbers in disks.items():
        found.setdefault(numbers, needed.get(source) or others[source])
    lost = [source for source in unknown if source in needed]
    return found, [f"{each}, which is mounted on {needed[each]}" for each in lost]


def _mountinfo(threads: Iterable[Path]) -> list[str]:
    """The table of the namespace that these threads are in."""
    for thread in threads:
        with contextlib.suppress(OSError):  # it has ended
            if lines := lines_of(thread / "mountinfo"):
                return lines
    return []


def _by_namespace(root: Path) -> Iterable[list[Path]]:
    """The threads in each mount namespace, of all processes; ours first.

    A thread may have one of its own, and the first of a process, when it has ended, has none.
    """
    proc = root / "proc"
    spaces = {_namespace(proc / "self"): [proc / "self"]}
    for process in (proc / str(pid) for pid in processes(proc)):
        tasks = [process / "task" / name for name in names_in(process / "task")]
        for thread in tasks or [process]:
            if space := _namespace(thread):
                spaces.setdefault(space, []).append(thread)
    return spaces.values()


def _namespace(thread: Path) -> str | None:
    try:
        return str((thread / "ns/mnt").readlink())
    except OSError:
        return None


def _swaps(root: Path) -> _Told:
    fields = (re.split(r"[ \t]+", line) for line in lines_of(root / "proc/swaps")[1:])
    disks, unknown = _disks((_plain(each[0]) for each in fields if each[1] == "partition"), root)
    swaps = {numbers: name for name, numbers in disks.items()}
    return swaps, [f"{name}, which is swapped to" for name in unknown]


def _disks(paths: Iterable[str], root: Path) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """The numbers of those that lead to one, and those of which nobody knows where they lead."""
    nodes = nodes_at(paths, root)
    disks = {path: node[1:] for path, node in nodes.items() if node and node[0] == "b"}
    return disks, [path for path, node in nodes.items() if node is None]


def _plain(text: str) -> str:
    """Without the octal escapes of the tables in /proc."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
