"""What is known of a child whose round does not end: which call, and where in the kernel."""

from collections.abc import Callable, Mapping
from pathlib import Path

from vfio_hw.race.child import Child
from vfio_hw.race.layout import Layout
from vfio_hw.race.outcome import recorded

# What else is to be asked of the kernel while a call hangs; set by who knows how.
witnesses: list[Callable[[], str]] = []


def running(child: Child, layout: Layout) -> list[str]:
    """The labels of the calls that have not returned."""
    labels = _running(child, layout, range(len(layout.steps)))
    closing = layout.closing()
    if closing is not None:
        labels.append(f"close of {closing}, which the programs left open,")
    return labels


def threads(child: Child, layout: Layout) -> str:
    """Each thread of the child: its call, state, wchan and kernel stack, as /proc has them."""
    serial = [*layout.prologue, *layout.epilogue]
    calls = {child.pid: _running(child, layout, serial)}
    processes = [child.pid]
    for actor, *where in zip(child.shared.actors, layout.setups, layout.actors, strict=False):
        calls[actor.thread] = _running(child, layout, [step for steps in where for step in steps])
        if actor.process and actor.thread:
            processes.append(actor.thread)
    alive = {int(task.name): task for process in processes for task in _tasks(process)}
    texts = [_thread(alive[number], calls) for number in sorted(alive)]
    texts += [
        f"thread {number} is gone; its call: {', '.join(calls[number]) or 'none'}"
        for number in calls
        if number not in alive
    ]
    return "\n".join(texts)


def witnessed() -> str:
    """What the witnesses say, each after a line of its own; nothing when there are none."""
    return "".join(f"\n{witness()}" for witness in witnesses)


def _tasks(process: int) -> list[Path]:
    tasks = Path(f"/proc/{process}/task")
    return list(tasks.iterdir()) if tasks.is_dir() else []


def _running(child: Child, layout: Layout, where: range | list[int]) -> list[str]:
    calls = recorded(child.shared, layout.steps, where)
    return [call.step.label for call in calls if call.outcome == "running"]


def _thread(task: Path, calls: Mapping[int, list[str]]) -> str:
    # The name in parentheses may hold anything, parentheses too; the state follows the last one.
    state = _read(task / "stat").rpartition(")")[2].split()[:1]
    call = ", ".join(calls.get(int(task.name), ())) or "none"
    lines = [f"thread {task.name} ({_read(task / 'comm')}), state {''.join(state)}, call: {call}"]
    for name in ("wchan", "syscall", "stack"):
        lines.append(f"    {name}: " + _read(task / name).replace("\n", "\n        "))
    return "\n".join(lines)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        # stack and syscall are root's, and a thread may end while it is looked at.
        return f"({error.strerror})"
