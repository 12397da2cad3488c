"""Whether it was the kernel that ended pytest in the middle of its work, and what it says of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from vfio_hw.oracle.splats import splats

_QUIET = 0.2  # seconds without a line after which a report is whole
_LONGEST_REPORT = 3.0


@dataclass(frozen=True)
class Fault:
    """What the kernel did: one title for each report, and all of their text."""

    titles: list[str]
    text: str


def fault(lines: Callable[[], list[str]], noted: frozenset[str]) -> Fault | None:
    """What the kernel has reported, or noted without a report that can still be read; or None.

    :param lines: what it has logged since the last call.
    :param noted: the faults that it has noted of itself in the meantime.
    """
    logged = lines()
    if noted or splats(logged):
        # The lines of a report come one by one.
        end = time.monotonic() + _LONGEST_REPORT
        while time.monotonic() < end:
            time.sleep(_QUIET)
            if not (more := lines()):
                break
            logged += more
    if reports := splats(logged):
        titles = dict.fromkeys(f"kernel log: {splat.title}" for splat in reports)
        text = "\n\n".join(f"{splat.title}\n{splat.text}" for splat in reports)
        return Fault(list(titles), text)
    if noted:
        kinds = ", ".join(sorted(noted))
        title = f"kernel log: the kernel has noted a fault of its own: {kinds}"
        return Fault([title], f"{title}; its log does not have the report any more")
    return None
