"""What can be known of a test that does not end: who is stuck where, and who holds the device."""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field
from functools import partial
from pathlib import Path

from vfio_hw.host.process import PROC, Task, of_family, tasks
from vfio_hw.host.questions import answers
from vfio_hw.host.timers import stopped
from vfio_hw.oracle.holders import holders
from vfio_hw.watchdog.log import Log

#: Seconds that all the evidence may take; a kernel that answers needs a small part of it.
LONGEST = 30.0

SYSRQ = PROC / "sysrq-trigger"

_PATIENCE = 2.0  # for one file of /proc
_SYSRQ_PATIENCE = 10.0  # for what the kernel prints on a console that may be slow
_STATUS = ("State", "SigPnd", "ShdPnd", "VmLck", "VmPin", "voluntary_ctxt_switches")
_BLOCKED = "D"


@dataclass(frozen=True)
class Evidence:
    """What was found.

    :param title: one line without numbers, the same for the same fault in every run.
    :param stuck: a line for each thread of the test's processes: state, and where it waits.
    :param held: a line for each descriptor or mapping of VFIO that any process holds.
    :param details: everything else, for a person to read.
    """

    title: str
    stuck: list[str]
    held: list[str]
    details: str
    blocked: list[Task] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """The lines that say most."""
        held = self.held or ["nobody"]
        lines = [*self.stuck, "open VFIO and IOMMUFD files are held by:", *held]
        return "\n".join(lines)


def gathered(pid: int, kernel_says: Callable[[], list[str]]) -> Evidence:
    """Ask the kernel about process ``pid``, its descendants and whoever else is blocked.

    It takes at most about :data:`LONGEST` seconds, whatever hangs.

    :param kernel_says: what the kernel has logged since it was last called.
    """
    end = time.monotonic() + LONGEST
    timers = stopped(lambda question: answers([question], patience=_PATIENCE, end=end)[0])
    everyone = _everyone(end)
    family = of_family(pid, everyone)
    others = [task for task in everyone if task.state == _BLOCKED and task not in family]
    asked = [*family, *others]
    places = answers([partial(_file, task, "wchan") for task in asked], patience=_PATIENCE, end=end)
    where = dict(zip(asked, places, strict=True))
    details = [
        *timers,
        "threads of the test's processes:",
        *_threads(family, where, end),
        "other tasks in state D:",
        *(_threads(others, where, end) or ["none"]),
    ]
    held = holders(end=end)
    details += ["logged since the test began:", *kernel_says()]
    for key in _keys(family):
        details.append(f"sysrq {key}:")
        said = answers([partial(_press, SYSRQ, key)], patience=_SYSRQ_PATIENCE, end=end)
        details += [*filter(None, said), *kernel_says()]
    blamed = next((task for task in family if task.state == _BLOCKED), None)
    blamed = blamed or next((task for task in family if task.tid == pid), None)
    title = "the test did not end"
    return Evidence(
        f"{title}: {blamed.name} {_how(blamed, where[blamed])}" if blamed else title,
        [f"{task}, {_how(task, where[task])}" for task in family],
        held,
        "\n".join(details),
        [task for task in family if task.state == _BLOCKED],
    )


def of_a_hang(log: Log) -> str:
    """The evidence on this process and its descendants, one of which hangs, as a text.

    :param log: begun anew here.
    """
    log.begin()
    evidence = gathered(os.getpid(), log.lines)
    return f"{evidence.summary}\n{evidence.details}"


def _everyone(end: float) -> list[Task]:
    (listed,) = answers([_listed], patience=2 * _PATIENCE, end=end)
    try:
        return [Task(*fields) for fields in json.loads(listed)]
    except ValueError:  # not the list, but why there is none
        return []


def _listed() -> str:
    return json.dumps([astuple(task) for task in tasks()])


def _file(task: Task, name: str) -> str:
    path = PROC / str(task.pid) / "task" / str(task.tid) / name
    return path.read_bytes().decode(errors="replace").strip()


def _status(task: Task) -> str:
    lines = _file(task, "status").split("\n")  # the name may hold what else ends a line
    return ", ".join(line.replace("\t", " ") for line in lines if line.startswith(_STATUS))


def _threads(listed: Sequence[Task], where: dict[Task, str], end: float) -> list[str]:
    questions = [
        question
        for task in listed
        for question in (
            partial(_file, task, "syscall"),
            partial(_status, task),
            partial(_file, task, "stack"),
        )
    ]
    given = iter(answers(questions, patience=_PATIENCE, end=end))
    lines = []
    for task in listed:
        syscall, status, stack = next(given), next(given), next(given)
        lines += [f"{task}, {_how(task, where[task])}", f"    syscall: {syscall}", f"    {status}"]
        lines += [f"    {frame}" for frame in stack.splitlines()]
    return lines


def _how(task: Task, wchan: str) -> str:
    if task.state == "R":
        return "runs"
    return f"waits in {wchan}" if wchan not in ("", "0") else "waits"


def _keys(family: Sequence[Task]) -> list[str]:
    """Blocked tasks; what the CPUs do, when one may spin; locks held, where lockdep knows them.

    Source: Documentation/admin-guide/sysrq.rst.
    """
    keys = ["w"]
    if any(task.state == "R" for task in family):
        keys.append("l")
    if (PROC / "lockdep_stats").exists():
        keys.append("d")
    return keys


def _press(sysrq: Path, key: str) -> str:
    descriptor = os.open(sysrq, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, key.encode())
    finally:
        os.close(descriptor)
    return ""
