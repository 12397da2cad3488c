"""Which processes have a device open: its nodes, its files in sysfs, or a VFIO descriptor of it."""

import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from vfio_hw.host.process import processes, stat_fields
from vfio_hw.host.questions import answers
from vfio_hw.host.sysfs import lines_of
from vfio_hw.host.tables import descriptors, mappings, must_have_told

# Seconds for one process, and for all of them; the second time those are asked that were silent.
_FIRST, _SECOND, _WHOLE = 0.5, 2.0, 20.0
_FIRST_NAMESPACE = 0xEFFFFFFC
_SYSPATH = "vfio-device-syspath:"
_VFIO = "anon_inode:[vfio-device]"
# It keeps each file open that was added to it: virt/kvm/vfio.c.
_KVM = "anon_inode:kvm-vfio"
#: What an opening is of that may be of several devices, also of such as the process has closed.
BY_KVM = "KVM's device for VFIO"


@dataclass(frozen=True)
class Opening:
    """One thing that a process has open or mapped.

    ``node`` is ``c`` or ``b`` with major and minor, for a device node; ``device`` the directory in
    sysfs that a VFIO device descriptor is of, "" where the kernel does not say.
    """

    pid: int
    name: str
    what: str
    node: tuple[str, int, int] | None = None
    vfio: bool = False
    device: str = ""

    def is_of(self, directory: Path, nodes: set[tuple[str, int, int]], *, vfio: bool) -> bool:
        """It may be of the device with this directory, resolved, and these nodes.

        :param vfio: a VFIO driver has the device.
        """
        if self.vfio:
            return self.device == str(directory) if self.device else vfio
        if self.node is not None:
            return self.node in nodes
        return Path(self.what).is_relative_to(directory)

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.name}): {self.what}"


@dataclass(frozen=True)
class Silent:
    """A process that did not tell what it has open, which so may be anything."""

    pid: int
    name: str
    why: str  #: in brackets

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.name}) {self.why}"


_Held = Callable[[int, Path], Iterator[Opening]]
_Asked = tuple[int, _Held]


def all_are_seen(root: Path = Path("/")) -> bool:
    """/proc has the processes of the whole machine, not of a container.

    Source: PROC_PID_INIT_INO in the kernel's proc_ns.h, the number of the first PID namespace.
    """
    try:
        return str((root / "proc/self/ns/pid").readlink()) == f"pid:[{_FIRST_NAMESPACE}]"
    except OSError:  # a kernel that has only one
        return True


def openings(root: Path = Path("/")) -> tuple[list[Opening], list[Silent]]:
    """What all processes but this one have open of devices, and those that did not tell.

    As root it sees every process; as an ordinary user only those of that user.
    """
    own = os.getpid()
    pids = [pid for pid in processes(root / "proc") if pid != own]
    asked = [(pid, held) for pid in pids for held in (_descriptors, _mappings)]
    # A look into a process can wait for what that process waits for. The others come first.
    given = _answered(asked, _FIRST, root)
    again = _answered([each for each in asked if _parted(given[each])[1]], _SECOND, root)
    lines = [line for answer in (*given.values(), *again.values()) for line in _parted(answer)[0]]
    found = [_opening(line) for line in dict.fromkeys(lines)]
    parted = ((pid, _parted(answer)[1]) for (pid, _), answer in (given | again).items())
    silent = {pid: Silent(pid, _name(pid, root), why) for pid, why in parted if why}
    return found, list(silent.values())


def _answered(asked: Sequence[_Asked], patience: float, root: Path) -> dict[_Asked, str]:
    questions: list[Callable[[], str]] = [partial(_told, held, pid, root) for pid, held in asked]
    given = answers(questions, patience=patience, end=time.monotonic() + _WHOLE)
    return dict(zip(asked, given, strict=True))


def _told(held: _Held, pid: int, root: Path) -> str:
    """A line for each thing that it has; a last one in brackets says why there may be more."""
    # A table that a thread has of its own was a copy: of what is in both one will do.
    lines: dict[str, None] = {}
    try:
        for each in held(pid, root):
            lines[json.dumps(asdict(each))] = None
    except BlockingIOError as error:
        lines[f"({error.strerror})"] = None
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return ""
    except PermissionError:
        if os.geteuid() != 0:
            return ""
        raise
    return "\n".join(lines)


def _parted(answer: str) -> tuple[list[str], str]:
    """What was told, and why that is not all, in brackets; "" when it is."""
    lines = list(filter(None, answer.split("\n")))
    return lines, lines.pop() if lines and lines[-1].startswith("(") else ""


def _opening(line: str) -> Opening:
    fields = json.loads(line)
    node = fields.pop("node")
    return Opening(node=node and (node[0], node[1], node[2]), **fields)


def _descriptors(pid: int, root: Path) -> Iterator[Opening]:
    lost: dict[Path, None] = {}
    for thread, number, target in descriptors(pid, root):
        try:
            status = (thread / "fd" / number).stat()
        except OSError:
            lost[thread] = None
            continue
        if target.startswith(_VFIO):
            device = _device_of(thread / "fdinfo" / number)
            yield Opening(pid, _name(pid, root), "a VFIO device", None, True, device)
        elif target == _KVM:
            yield Opening(pid, _name(pid, root), BY_KVM, None, True)
        else:
            yield from _of_file(pid, root, target, status)
    for thread in lost:
        must_have_told(thread, pid, root)


def _mappings(pid: int, root: Path) -> Iterator[Opening]:
    for _, path in mappings(pid, root):
        if path.startswith(_VFIO):
            yield Opening(pid, _name(pid, root), "a mapping of a VFIO device", None, True)
        elif path.startswith(("/dev/", "/sys/")):
            try:
                status = Path(path).stat()
            except OSError:
                continue
            yield from _of_file(pid, root, path, status)


def _of_file(pid: int, root: Path, path: str, status: os.stat_result) -> Iterator[Opening]:
    mode = status.st_mode
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        kind = "b" if stat.S_ISBLK(mode) else "c"
        numbers = (kind, os.major(status.st_rdev), os.minor(status.st_rdev))
        yield Opening(pid, _name(pid, root), path, numbers)
        return
    # A BAR or the configuration space, through which a driver in user space uses the device.
    name = path.rpartition("/")[2]
    if path.startswith("/sys/devices/") and (name == "config" or name.startswith("resource")):
        yield Opening(pid, _name(pid, root), path)


def _device_of(fdinfo: Path) -> str:
    """What newer kernels say in fdinfo (vfio-device-syspath), resolved."""
    try:
        lines = lines_of(fdinfo)
    except OSError:
        return ""
    told = [line.removeprefix(_SYSPATH).strip() for line in lines if line.startswith(_SYSPATH)]
    return str(Path(told[0]).resolve()) if told else ""


def _name(pid: int, root: Path) -> str:
    found = stat_fields(pid, root / "proc")
    return found[0] if found else "?"
