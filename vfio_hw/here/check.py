"""One line of what `vfio-hw doctor` says."""

from dataclasses import dataclass
from typing import Any

#: Verdicts: as it should be; worth knowing; a run on this machine is impossible; a run in a guest
#: is impossible.
GOOD, NOTE, NOT_HERE, NO_GUEST = "ok", "note", "not here", "no guest"


@dataclass(frozen=True)
class Check:
    """What was looked at, the verdict on it, why, and what to do where there is something."""

    name: str
    verdict: str
    reason: str
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        """The same for a program."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "reason": self.reason,
            "remedy": self.remedy,
        }
