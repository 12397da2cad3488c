"""A life after which the machine is dead, as a program, and what is found of the one before.

``crash.py N`` tells what the journals note that an earlier one has left where VFIO_HW_STATE says,
restores that, tells what it found, tells each change after it was made, and crashes the machine at
the N-th moment that counts; ``crash.py told-N`` as soon as it has told of the N-th change.
"""

import json
import os
import sys
import termios
from collections.abc import Callable
from pathlib import Path

from life import at_moment, crashed, every_moment, life, load_modules, machine

from vfio_hw.host import journals, writer
from vfio_hw.host.restore import restore
from vfio_hw.host.state import State
from vfio_hw.host.target import Target, target_of


def told_of_changes(tell: Callable[[Target], object]) -> None:
    """``tell`` is called with what a write to sysfs has changed, when the kernel has made it.

    It is seen where the write returns, below all that the journal is told.
    """
    begun: dict[writer.Writer, tuple[Path, str]] = {}
    begin, answer, write = writer.Writer.begin, writer.Writer.answer, os.write

    def made(path: Path, text: str) -> None:
        changed = target_of(path, text)
        if changed is not None:
            tell(changed[0])

    def begins(self: writer.Writer, path: Path, text: str) -> None:
        begun[self] = path, text
        begin(self, path, text)

    def answers(self: writer.Writer, size: int, deadline: float) -> bytes | None:
        report = answer(self, size, deadline)
        if size == writer.ENDED.size and report and writer.ENDED.unpack(report)[2] == 0:
            made(*begun.pop(self))
        return report

    def writes(descriptor: int, data: bytes) -> int:
        count = write(descriptor, data)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_relative_to("/sys"):
            made(path, data.decode())
        return count

    writer.Writer.begin = begins  # type: ignore[method-assign]
    writer.Writer.answer = answers  # type: ignore[method-assign]
    os.write = writes  # type: ignore[assignment]


def noted(state: State) -> list[list[str]]:
    """What the journals on the disk say was about to be changed, and how often."""
    lines = [
        json.loads(line)
        for name in state.names(journals.ENDING)
        for line in (state.text(name) or "").split("\n")[:-1]
    ]
    return [line["note"] for line in lines if "note" in line]


def _as_program(when: str) -> None:
    def say(**said: object) -> None:
        print(json.dumps(said), flush=True)
        termios.tcdrain(1)  # it has left the machine before that dies

    load_modules()
    there = State()
    say(noted=noted(there))
    say(outcomes=[str(each) for each in restore(there)], machine=machine())
    say(left=there.names(journals.ENDING))
    word, _, number = when.rpartition("-")
    crash = at_moment(int(number), crashed)

    def tell(target: Target) -> None:
        say(changed=[target.kind, target.name])
        if word == "told":
            crash()

    told_of_changes(tell)
    every_moment(crash if not word else lambda: None)
    life(there)
    say(over=True)


if __name__ == "__main__":
    _as_program(sys.argv[1])
