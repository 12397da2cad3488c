"""What a journal says of one target: how it was, and what it has because of us."""

from dataclasses import dataclass, field

from vfio_hw.errors import HarnessError
from vfio_hw.host.target import Target


@dataclass
class Record:
    """What a journal says of one target.

    ``pending`` are the values of writes of which nobody knows how they ended; ``unwanted`` what
    was to stay, until somebody began to undo it.
    """

    old: str
    identity: str
    made: str | None = None
    pending: list[str] = field(default_factory=list)
    unwanted: bool = False

    @property
    def ours(self) -> set[str]:
        """The values that the target has because of us."""
        return {*self.pending, *([] if self.made is None else [self.made])}

    def untouched(self, target: Target) -> bool:
        """It was noted because of another change, and is as it was, as far as the kernel says."""
        if self.ours or target.identity() != self.identity:
            return False
        try:
            return target.value() == self.old
        except HarnessError:
            return False
