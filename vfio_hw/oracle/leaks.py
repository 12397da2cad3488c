"""What a test left behind in the kernel and in our own process."""

import time
from pathlib import Path

from vfio_hw.oracle.finding import Finding
from vfio_hw.oracle.holders import holders
from vfio_hw.oracle.snapshot import Snapshot, taken

_NAME = "leaks"
_GRACE = 2.0  # seconds for what the kernel releases later: deferred fput, RCU, delayed work
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.1


class Leaks:
    """Finds whatever is not as it was before the test.

    Counters and entries of the kernel must be equal: one too few was taken from somebody else. Of
    our own process only what grew counts. See :mod:`vfio_hw.oracle.snapshot` for what is looked at.

    :param root: where sys, dev and proc are found.
    :param grace: seconds to wait for a difference to vanish.
    """

    def __init__(self, root: Path = Path("/"), grace: float = _GRACE) -> None:
        self._root = root
        self._grace = grace
        self._before = Snapshot()

    def before(self, test: str) -> None:
        """Remember how things are."""
        self._before = taken(self._root)

    def after(self) -> list[Finding]:
        """A finding for each thing that still differs after the period of grace.

        The text of the first one also says who holds VFIO files open.
        """
        end = time.monotonic() + self._grace
        pause = _FIRST_PAUSE
        found = differences(self._before, taken(self._root))
        while found and time.monotonic() < end:
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            found = differences(self._before, taken(self._root))
        findings = [Finding(_NAME, title, text) for title, text in found]
        if findings and (held := holders(self._root)):
            first = findings[0]
            text = "\n".join([first.text, "open VFIO and IOMMUFD files are held by:", *held])
            findings[0] = Finding(first.oracle, first.title, text)
        return findings


def differences(before: Snapshot, after: Snapshot) -> list[tuple[str, str]]:
    """Title and text of everything that is not as it was."""
    found = [
        (f"{what} {before.counters[what]} -> {now}",) * 2
        for what, now in after.counters.items()
        if before.counters.get(what, now) != now
    ]
    for place, now_there in after.entries.items():
        there = before.entries.get(place, now_there)
        added, gone = sorted(now_there - there), sorted(there - now_there)
        if added or gone:
            counts = [f"{len(added)} more"] * bool(added) + [f"{len(gone)} fewer"] * bool(gone)
            names = [f"appeared: {name}" for name in added] + [f"went: {name}" for name in gone]
            found.append((f"{place}: {', '.join(counts)}", "\n".join(names)))
    return found + [
        (f"{what}: {before.own.get(what, 0)} -> {now}",) * 2
        for what, now in after.own.items()
        if now > before.own.get(what, 0)
    ]
