"""Tasks of ours that the kernel does not let go."""

import time

from vfio_hw.host.process import process_state
from vfio_hw.oracle.children import descendants
from vfio_hw.oracle.finding import Finding
from vfio_hw.oracle.holders import holders

_NAME = "hang"
_GRACE = 1.0  # seconds in which a process may end, or leave an uninterruptible wait
_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.1


class Hangs:
    """Finds processes that the test started and left running, or that wait uninterruptibly.

    A process that was already there, or already blocked, when the test began is not counted again.
    """

    def __init__(self, grace: float = _GRACE) -> None:
        self._grace = grace
        self._before: dict[int, bool] = {}

    def before(self, test: str) -> None:
        """Remember which processes run and which are blocked."""
        self._before = descendants()

    def after(self) -> list[Finding]:
        """A finding for each process left over or blocked for the whole period of grace."""
        end = time.monotonic() + self._grace
        pause = _FIRST_PAUSE
        suspects = self._suspects()
        while suspects and time.monotonic() < end:
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            suspects &= self._suspects()
        return [finding for pid in sorted(suspects) for finding in _findings(pid)]

    def _suspects(self) -> set[int]:
        return {
            pid
            for pid, blocked in descendants().items()
            if pid not in self._before or blocked > self._before[pid]
        }


def _findings(pid: int) -> list[Finding]:
    now = process_state(pid)
    if now.state in "ZX":
        return []
    how = "blocked" if now.state == "D" else "left over"
    where = f" in {now.wchan}" if now.wchan else ""
    held = "\n".join(holders()) or "nobody"
    text = f"{now}\nopen VFIO and IOMMUFD files are held by:\n{held}"
    return [Finding(_NAME, f"process {now.name} {how}{where}", text)]
