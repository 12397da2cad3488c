"""Tells the journals of this machine what a round is about to write to sysfs, by itself."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from vfio_hw.host import sysfs
from vfio_hw.race.program import Memory, Slot, Step


@contextlib.contextmanager
def noted(steps: Iterable[Step]) -> Iterator[None]:
    """A round of these steps runs inside; one that is cut off may have made each of its writes."""
    told = []
    for path, text in _writes(steps) if sysfs.keepers else ():
        told.append(sysfs.about_to_write(path, text))
    yield
    for each in reversed(told):
        sysfs.has_written(each, made=True)


def _writes(steps: Iterable[Step]) -> Iterator[tuple[Path, str]]:
    """The files of sysfs that are written to, and what is written."""
    for step in steps:
        match step.arguments:
            case (Slot() as file, Memory() as memory, int()) if file.name.startswith("/sys/"):
                if step.label.startswith("write"):
                    yield Path(file.name), memory.content.decode(errors="replace")
