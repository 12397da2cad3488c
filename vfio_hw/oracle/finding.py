"""What an oracle says."""

from dataclasses import dataclass


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
