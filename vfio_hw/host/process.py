"""What the kernel tells about processes: their states, what they wait for, the time they used."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class ProcessState:
    """One look at a process.

    ``state`` is the letter of /proc/PID/stat ("D": it waits and no signal wakes it; "X": it is
    gone), ``wchan`` the kernel function it sleeps in, "" where the kernel does not say, and
    ``stack`` its kernel stack, one frame a line, "" without CONFIG_STACKTRACE or root.
    Source: Documentation/filesystems/proc.rst.
    """

    pid: int
    name: str
    state: str
    wchan: str
    stack: str

    def __str__(self) -> str:
        wchan = f", waits in {self.wchan}" if self.wchan else ""
        head = f"pid {self.pid} ({self.name}) state {self.state}{wchan}"
        return f"{head}\n{self.stack or '(no kernel stack to be read)'}"


@dataclass(frozen=True)
class Task:
    """One thread: its process, number, parent process, name and the letter of its state."""

    pid: int
    tid: int
    parent: int
    name: str
    state: str

    def __str__(self) -> str:
        return f"pid {self.pid} thread {self.tid} ({self.name}) state {self.state}"


def processes(proc: Path = PROC) -> list[int]:
    """The numbers of all processes, ascending."""
    return sorted(int(entry.name) for entry in proc.iterdir() if entry.name.isdigit())


def tasks(proc: Path = PROC) -> list[Task]:
    """Every thread of every process, those of the kernel too."""
    found = []
    for pid in processes(proc):
        directory = proc / str(pid) / "task"
        try:
            numbers = processes(directory)
        except OSError:  # it ended meanwhile
            continue
        for tid in numbers:
            if stat := stat_fields(tid, directory):
                name, fields = stat
                found.append(Task(pid, tid, int(fields[1]), name, fields[0]))
    return found


def of_family(pid: int, among: Iterable[Task]) -> list[Task]:
    """The threads of a process and of all processes that descend from it."""
    everyone = list(among)
    family, size = {pid}, 0
    while len(family) > size:
        size = len(family)
        family |= {task.pid for task in everyone if task.parent in family}
    return [task for task in everyone if task.pid in family]


def stat_fields(pid: int, proc: Path = PROC) -> tuple[str, list[str]] | None:
    """The name of a process and the fields of its stat line from the state on; None: it is gone."""
    text = _text(proc / str(pid) / "stat")
    opening, closing = text.find("("), text.rfind(")")  # a name may hold spaces and brackets
    if closing < 0:
        return None
    return text[opening + 1 : closing], text[closing + 1 :].split()


def process_state(pid: int, proc: Path = PROC) -> ProcessState:
    """How the process is now; state "X" when it does not exist."""
    found = stat_fields(pid, proc)
    if found is None:
        return ProcessState(pid, "?", "X", "", "")
    name, fields = found
    wchan = _text(proc / str(pid) / "wchan").strip()
    stack = _text(proc / str(pid) / "stack").rstrip()
    return ProcessState(pid, name, fields[0], "" if wchan == "0" else wchan, stack)


def cpu_seconds(pid: int, proc: Path = PROC) -> float:
    """Seconds of processor time the process has used, in steps of a clock tick (10 ms)."""
    found = stat_fields(pid, proc)
    if found is None:
        return 0.0
    fields = found[1]
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
