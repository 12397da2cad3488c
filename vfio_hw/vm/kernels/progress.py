"""Shows how far long work is: a bar on a terminal, a line every half minute elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from vfio_hw.cache import Say

_PERIOD = 30.0  # seconds between lines


@contextlib.contextmanager
def bar(
    doing: str, total: int, say: Say, *, unit: str = "steps"
) -> Iterator[Callable[[int], None]]:
    """Yields a function that is told how much of ``total`` is done by now.

    :param total: an estimate is enough.
    :param unit: "bytes", or a noun.
    """
    if sys.stderr.isatty():
        with _drawn(doing, total) as advanced:
            yield advanced
    else:
        say(doing)
        yield _Lines(doing, total, say, unit).advanced


@contextlib.contextmanager
def _drawn(doing: str, total: int) -> Iterator[Callable[[int], None]]:
    # Here, because a kernel that is in the cache must be found without waiting for this import.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(doing, total=total)
        yield lambda done: progress.update(task, completed=done, total=max(done, total))


class _Lines:
    def __init__(self, doing: str, total: int, say: Say, unit: str) -> None:
        self._doing = doing
        self._total = total
        self._say = say
        self._unit = unit
        self._start = self._said = time.monotonic()

    def advanced(self, done: int) -> None:
        now = time.monotonic()
        if now - self._said < _PERIOD:
            return
        self._said = now
        scale, unit = (10**6, "MB") if self._unit == "bytes" else (1, self._unit)
        self._say(
            f"{self._doing}: {done // scale} of about {self._total // scale} {unit}, "
            f"{now - self._start:.0f} s"
        )
