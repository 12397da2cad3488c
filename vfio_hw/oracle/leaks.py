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

    See :mod:`vfio_hw.oracle.snapshot` for what is looked at, and how it is compared.

    :param root: where sys, dev and proc are found.
    :param grace: seconds to wait for a difference to vanish.
    :param alone: nobody else uses this machine: what it holds as a whole is compared too.
    """

    def __init__(
        self, root: Path = Path("/"), grace: float = _GRACE, *, alone: bool = False
    ) -> None:
        self._root = root
        self._grace = grace
        self._alone = alone
        self._before: Snapshot | None = None

    def before(self, test: str) -> None:
        """Remember how things are: as they were after the test before, when all was well then.

        So what comes too late for that test is not lost, and half of the looking is saved.
        """
        if self._before is None:
            self._before = self._taken()

    def after(self) -> list[Finding]:
        """A finding for each thing that still differs after the period of grace.

        The text of the first one also says who holds VFIO files open.
        """
        before, self._before = self._before or self._taken(), None
        end = time.monotonic() + self._grace
        pause = _FIRST_PAUSE
        now = self._taken()
        while (found := differences(before, now)) and time.monotonic() < end:
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            now = self._taken()
        if not found:
            self._before = now
            return []
        findings = [Finding(_NAME, title, text) for title, text in found]
        if held := holders(self._root):
            first = findings[0]
            text = "\n".join([first.text, "open VFIO and IOMMUFD files are held by:", *held])
            findings[0] = Finding(first.oracle, first.title, text)
        return findings

    def _taken(self) -> Snapshot:
        return taken(self._root, alone=self._alone)


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
    found += _grown(before.amounts, after.amounts)
    return found or _grown(before.totals, after.totals)


def _grown(before: dict[str, int], after: dict[str, int]) -> list[tuple[str, str]]:
    return [
        (f"{what}: {before.get(what, 0)} -> {now}",) * 2
        for what, now in after.items()
        if now > before.get(what, 0)
    ]
