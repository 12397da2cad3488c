"""What the kernel tells about one process: its state, what it waits for, the time it used."""

import os
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
