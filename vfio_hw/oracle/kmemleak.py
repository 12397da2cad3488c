"""Memory that nothing in the kernel points to any more.

Source: Documentation/dev-tools/kmemleak.rst. A scan takes seconds under an emulator, and an object
is not reported before it is 5 s old, so this is for after many tests, not after each.
"""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.oracle.finding import Finding

ROOT = Path("/")

_NAME = "kmemleak"
_OLD_ENOUGH = 5.5  # seconds; MSECS_MIN_AGE is 5000, and an object's age is taken as a scan begins
_INFO = 6
_NOW = re.compile(r"^jiffies: (\d+)", re.MULTILINE)
_MADE = re.compile(r"^  comm .*, jiffies (\d+)", re.MULTILINE)
_OBJECT = re.compile(r"^(?=unreferenced object)", re.MULTILINE)
_FRAME = re.compile(
    r"^ +(?:\[<[0-9a-f]+>\] )?(?:([A-Za-z_][\w.]*)\+0x|0x[0-9a-f]{16}$)", re.MULTILINE
)
# Functions that hand out memory: whoever called them has lost it.
_ALLOCATOR = re.compile(
    r"_*(?:kmemleak_(?:alloc|vmalloc|percpu)|create_object|slab_|kmem_cache|do_kmem|kv?m?[mzcr]e?alloc"
    r"|kmemdup|kstrn?dup|kv?asprintf|v[mz]?alloc|alloc_(?:pages|frozen|percpu)|get_free_pages"
    r"|pcpu_alloc|devm_k|memdup|get_vm_area)"
)


class Kmemleak:
    """Finds objects that were made since it was, and to which nothing points any more.

    A kernel without CONFIG_DEBUG_KMEMLEAK, or with it switched off, has nothing to find.

    :param age: seconds that an object must be old to be found.
    """

    def __init__(self, root: Path = ROOT, *, age: float = _OLD_ENOUGH) -> None:
        """Leave out what was made before, for the most part what booting has lost."""
        self._file = root / "sys/kernel/debug/kmemleak"
        self._printk = root / "proc/sys/kernel/printk"
        self._age = age
        # Its own scans would report what one test has lost while another runs.
        self._by_itself = _scans_by_itself(root)
        # debugfs may be there, and not for this user to look into.
        self.works = self._asked("scan=off")
        self._timers = root / "proc/timer_list"
        # A scan to clear these would cost as much as one for tests.
        self._since = self._now() if self.works else 0
        self._stretches: list[tuple[int, str]] = []  # when each began, and whose it was

    def found(self, whose: str, *, last: bool = True) -> dict[str, list[Finding]]:
        """Scan, which takes some seconds, and report each object once: never again later.

        :param whose: the tests since the scan before.
        :param last: whether everything must be found now. Otherwise what they have lost may be
            found by the next scan, which takes half of the time.
        :returns: the findings by whose tests had them made.
        :raises HarnessError: it works no more; the kernel log says why.
        """
        if not self.works:
            return {}
        self._stretches.append((self._since, whose))
        with self._unheard():
            began, self._since = time.monotonic(), self._now()
            # The first scan learns what each object holds: one that still changes is in use.
            heard = self._asked("scan")
            if last:
                # Meanwhile what the last test has lost grows old enough.
                time.sleep(max(0.0, began + self._age - time.monotonic()))
                heard = heard and self._asked("scan")
            # A pointer that was just on its way is found now.
            again = bool(self._objects()) and self._asked("scan")
            objects = self._objects() if again else []
            self._asked("clear")
        if not heard:
            self.works = False
            raise HarnessError(
                f"kmemleak has switched itself off ({self._file} refuses to scan): see the kernel"
                " log, and give the machine more memory"
            )
        lost: dict[str, list[str]] = {}
        for text in objects:
            lost.setdefault(self._maker(_made(text)), []).append(text)
        return {tests: _findings(texts) for tests, texts in lost.items()}

    def close(self) -> None:
        """Let it scan by itself again, if it did."""
        if self.works and self._by_itself:
            self._asked("scan=on")

    def _asked(self, command: str) -> bool:
        """Whether the command was obeyed; it returns when a scan is over."""
        try:
            descriptor = os.open(self._file, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(descriptor, command.encode())
            finally:
                os.close(descriptor)
        except OSError:
            return False
        return True

    def _objects(self) -> list[str]:
        parts = _OBJECT.split(self._file.read_text(errors="replace"))[1:]
        return [text.rstrip() for text in parts if _made(text) >= self._stretches[0][0]]

    def _maker(self, made: int) -> str:
        """Whose tests ran when an object was made."""
        return next(whose for began, whose in reversed(self._stretches) if made >= began)

    def _now(self) -> int:
        """Jiffies since the kernel booted."""
        now = _NOW.search(self._timers.read_text())
        return int(now[1]) if now else 0

    @contextlib.contextmanager
    def _unheard(self) -> Iterator[None]:
        """What a scan has to say goes to the log, which knows of it, and not to the console."""
        try:
            level = self._printk.read_text().split()[0]
            self._printk.write_text(str(min(int(level), _INFO)))
        except OSError:
            level = ""
        try:
            yield
        finally:
            if level:
                self._printk.write_text(level)


def _scans_by_itself(root: Path) -> bool:
    """Whether the kernel's thread for that runs. Source: start_scan_thread() in mm/kmemleak.c."""
    for path in (root / "proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if path.read_text() == "kmemleak\n":
                return True
    return False


def _findings(objects: list[str]) -> list[Finding]:
    """One finding for each function that lost memory, with all of its objects."""
    by_title: dict[str, list[str]] = {}
    for text in objects:
        by_title.setdefault(f"unreferenced object in {_loser(text)}", []).append(text)
    return [
        Finding(_NAME, title, f"objects: {len(texts)}\n" + "\n".join(texts))
        for title, texts in by_title.items()
    ]


def _made(text: str) -> int:
    """When an object was allocated, in jiffies."""
    match = _MADE.search(text)
    return int(match[1]) if match else 0


def _loser(text: str) -> str:
    """The first function of an object's backtrace that does not just hand out memory.

    One without a name has gone: with its module, or because it was only needed to initialise.
    """
    frames = [frame.split(".")[0] for frame in _FRAME.findall(text)]
    callers = [frame for frame in frames if not _ALLOCATOR.match(frame)]
    named = next(filter(None, callers), "")
    if not named:
        return frames[0] if frames and frames[0] else "unknown code"
    return named if callers[0] else f"discarded code under {named}"
