"""What in the kernel has a disk open and leaves no mark on it: loop devices, and what exports it.

None of these claims the disk, so that it has no holder and can be opened with O_EXCL.
"""

import fcntl
import os
import re
import stat
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from vfio_hw.host.descendants import node
from vfio_hw.host.questions import answers
from vfio_hw.host.sysfs import attribute, names_in

#: ``b`` or ``c``, major and minor.
Node = tuple[str, int, int]

# Source: linux/loop.h; the first members of struct loop_info64, and its size.
_LOOP_GET_STATUS64 = 0x4C05
_LOOP_INFO64, _LOOP_INFO64_SIZE = struct.Struct("=QQQ"), 232
# Source: Documentation/target/scripts.rst; fileio says "File: ", iblock "UDEV PATH: ".
_TARGET_PATH = re.compile(r"(?:UDEV PATH|File): (\S+)")
_PATIENCE, _WHOLE = 2.0, 10.0  # seconds for one loop device, or path, and for all of them
_NOTHING, _OTHER = "(nothing)", "no node"


@dataclass(frozen=True)
class Backed:
    """What stands on a node.

    ``rule`` is ``loop`` or ``exported``, ``text`` names it, ``path`` is what the kernel says that
    it stands on; ``node`` None where nobody can tell which node that is, so that it may be any.
    ``disk`` is its name as a block device, "" when it is none.
    """

    rule: str
    text: str
    path: str
    node: Node | None
    disk: str = ""


def backed(root: Path = Path("/")) -> list[Backed]:
    """All of them; those on a file of a file system are left out, as that is mounted."""
    return [*_loops(root), *_exports(root)]


def nodes_at(paths: Iterable[str], root: Path = Path("/")) -> dict[str, Node | None]:
    """The nodes that these paths lead to, None where nobody knows; those that lead to none are out.

    Any user may have chosen a path, to where it hangs who looks: the first of them are asked first.
    """
    asked = list(dict.fromkeys(paths))
    nodes: dict[str, Node | None] = {}
    for path, answer in zip(asked, _looked_at(asked, root), strict=True):
        found = _node(answer) or _named(path, root)
        if found or answer != _OTHER:
            nodes[path] = found
    return nodes


def _looked_at(paths: Sequence[str], root: Path) -> list[str]:
    """What is at each path: a node, something else; in brackets that nobody knows."""
    questions: list[Callable[[], str]] = [partial(_look, path, root) for path in paths]
    return answers(questions, patience=_PATIENCE, end=time.monotonic() + _WHOLE)


def _look(path: str, root: Path) -> str:
    try:
        status = (root / path.lstrip("/")).stat()
    except ValueError:
        return _NOTHING
    if not (stat.S_ISBLK(status.st_mode) or stat.S_ISCHR(status.st_mode)):
        return _OTHER
    kind = "b" if stat.S_ISBLK(status.st_mode) else "c"
    return f"{kind} {os.major(status.st_rdev)} {os.minor(status.st_rdev)}"


def _node(answer: str) -> Node | None:
    if answer == _OTHER or answer.startswith("("):
        return None
    kind, major, minor = answer.split()
    return kind, int(major), int(minor)


def _loops(root: Path) -> Iterator[Backed]:
    block = root / "sys/class/block"
    found = {
        name: path
        for name in names_in(block)
        if (path := attribute(block / name / "loop/backing_file")) is not None
    }
    questions: list[Callable[[], str]] = [partial(_asked, root / "dev" / name) for name in found]
    given = answers(questions, patience=_PATIENCE, end=time.monotonic() + _WHOLE)
    for (name, path), answer in zip(found.items(), given, strict=True):
        text = f"the loop device {name}"
        if answer.startswith("("):  # an ordinary user may not ask
            yield from _on(Backed("loop", text, path, None, name), root)
        elif answer != "0":
            number = int(answer)
            yield Backed("loop", text, path, ("b", os.major(number), os.minor(number)), name)


def _asked(loop: Path) -> str:
    """The number of the device that a loop device stands on, 0 for a file."""
    descriptor = os.open(loop, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        info = fcntl.ioctl(descriptor, _LOOP_GET_STATUS64, bytes(_LOOP_INFO64_SIZE))
    finally:
        os.close(descriptor)
    return str(_LOOP_INFO64.unpack_from(info)[2])


def _exports(root: Path) -> Iterator[Backed]:
    """Disks that this machine gives to others: as NVMe over fabrics, and as a SCSI target."""
    config = root / "sys/kernel/config"
    for module, name in (("nvmet", "nvmet"), ("target_core_mod", "target")):
        if (root / "sys/module" / module).exists() and not (config / name).exists():
            text = f"the module {module}, whose configfs is not mounted on /sys/kernel/config"
            yield Backed("exported", text, "", None)
    for subsystem in names_in(config / "nvmet/subsystems"):
        top = config / "nvmet/subsystems" / subsystem
        spaces = [top / "namespaces" / name for name in names_in(top / "namespaces")]
        for each in (*spaces, top / "passthru"):
            device = attribute(each / "device_path")
            if device and attribute(each / "enable") == "1":
                what = f"the export of the NVMe subsystem {subsystem}"
                yield from _on(Backed("exported", what, device, None), root)
    for plugin in names_in(config / "target/core"):
        for name in names_in(config / "target/core" / plugin):
            directory = config / "target/core" / plugin / name
            info = attribute(directory / "info") if attribute(directory / "enable") == "1" else None
            for file in _TARGET_PATH.findall(info or ""):
                what = f"the export of the SCSI target {plugin}/{name}"
                yield from _on(Backed("exported", what, file, None), root)


def _on(each: Backed, root: Path) -> Iterator[Backed]:
    """With its node, by the path; none when the path leads to a file."""
    for found in nodes_at([each.path], root).values():
        yield replace(each, node=found)


def _named(path: str, root: Path) -> Node | None:
    """The disk that a path names, whose node was taken away, or is of another mount namespace."""
    block = root / "sys/class/block"
    name = path.removesuffix(" (deleted)").rpartition("/dev/")[2].replace("/", "!")
    numbers = node(block / name) if name in names_in(block) else None
    return None if numbers is None else ("b", *numbers)
