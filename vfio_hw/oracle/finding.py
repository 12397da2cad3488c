"""What an oracle says, and what every oracle can be asked."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Finding:
    """Something that must not be so after a test.

    ``title`` is one line without addresses, numbers of processes or random names, so that the same
    fault has the same title in every run; ``text`` holds all there is to know.
    """

    oracle: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.oracle}: {self.title}\n{self.text}"


class Oracle(Protocol):
    """A judge of one side of the kernel, asked before and after every test."""

    def before(self, test: str) -> None:
        """The test of this name is about to begin."""

    def after(self) -> list[Finding]:
        """The test has ended: what it left behind."""
