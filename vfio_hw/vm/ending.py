"""What the end of a guest says of the test that ran in it, when it is not the end of all tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from vfio_hw.report.events import Result
from vfio_hw.vm.machine import Ending, GuestRun
from vfio_hw.vm.progress import Progress

_CONSOLE_TAIL = 40
# Killed by SIGBUS or SIGSEGV: a program of Python does not do that to itself.
_KILLED_BY_MEMORY = (128 + 7, 128 + 11)


class Splat(Protocol):
    """A report in the text of a kernel."""

    @property
    def title(self) -> str:
        """What the same fault is called every time."""

    @property
    def text(self) -> str:
        """The report."""


def result_of_end(
    ended: GuestRun, found: Sequence[Splat], progress: Progress, seconds: float
) -> Result:
    """The result of what was going on when the guest died.

    :param found: the reports on its console.
    :param seconds: how long it had been going on.
    """
    oracle = {Ending.PANICKED: "panic", Ending.HUNG: "hang"}.get(ended.ending, "exit")
    verdict = "failed"
    if ended.ending is Ending.CUT_OFF and not found:
        verdict = "error"
    if progress.running:
        test = progress.running
    elif progress.collected:
        # Whatever the last test left behind is what killed the guest.
        test = f"after {progress.last}" if progress.last else f"guest {progress.guests}"
    else:
        test = f"boot of guest {progress.guests}"
        # A machine that is too slow looks the same, unless the kernel said something.
        if ended.ending is Ending.HUNG and not found:
            verdict = "error"
    if ended.ending is Ending.RESET and not found:
        if progress.running:
            # It waited for nothing else, and who asks for a reset can not speak after it.
            return Result(test, "passed", round(seconds, 3), ended.text)
        verdict = "error"
    if ended.ending in (Ending.EXITED, Ending.RESET) and found:
        oracle = "kernel log"
    elif ended.ending is Ending.EXITED and ended.status not in _KILLED_BY_MEMORY:
        verdict = "error"
    titles = [f"kernel log: {splat.title}" for splat in found]
    text = explained(ended, found, lines_of(ended.console))
    return Result(test, verdict, round(seconds, 3), text, oracle, {}, titles)


def explained(ended: GuestRun, found: Sequence[Splat], console: Sequence[str]) -> str:
    """The text of a result that a whole guest has caused: its splats, or its last words."""
    if found:
        return "\n\n".join(f"{splat.title}\n{splat.text}" for splat in found)
    tail = "\n".join(console[-_CONSOLE_TAIL:])
    return f"{ended.text}\nThe console's last lines:\n{tail}"


def lines_of(console: Path) -> list[str]:
    """What a guest's kernel printed."""
    return console.read_text(errors="replace").splitlines()
