"""What is known of a child whose round does not end: which call, and where in the kernel."""

from collections.abc import Mapping
from pathlib import Path

from vfio_hw.race.child import Child
from vfio_hw.race.layout import Layout
from vfio_hw.race.outcome import recorded


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
    for actor, where in zip(child.shared.actors, layout.actors, strict=False):
        calls[actor.thread] = _running(child, layout, where)
    tasks = Path(f"/proc/{child.pid}/task")
    alive = sorted(int(task.name) for task in tasks.iterdir()) if tasks.is_dir() else []
    texts = [_thread(tasks / str(number), calls) for number in alive]
    texts += [
        f"thread {number} is gone; its call: {', '.join(calls[number]) or 'none'}"
        for number in calls
        if number not in alive
    ]
    return "\n".join(texts)


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
