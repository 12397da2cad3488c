"""What a guest's kernel prints, and what that says of its life."""

import time
from typing import BinaryIO

_ALIVE = b"Linux version"
_PANIC = b"Kernel panic - not syncing"
_LINE = 1024  # what the kernel logs at once.  Source: PRINTKRB_RECORD_MAX in kernel/printk


class Console:
    """All that was printed, which a file gets as it comes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._text = file, bytearray()
        self._panic = -1
        self.panicked_at: float | None = None
        """When the kernel said that it panics, on the clock of time.monotonic()."""

    def take(self, data: bytes) -> None:
        """More of it."""
        self._file.write(data)
        self._file.flush()
        # The words may have come in two parts; what is older was looked at.
        begin = max(0, len(self._text) - len(_PANIC) + 1)
        self._text += data
        if self.panicked_at is None:
            self._panic = self._text.find(_PANIC, begin)
            if self._panic >= 0:
                self.panicked_at = time.monotonic()

    @property
    def last_words(self) -> str:
        """The line in which a kernel that has panicked says why."""
        line, _, _ = self._text[self._panic : self._panic + _LINE].partition(b"\n")
        return line.decode(errors="replace").rstrip("\r")

    @property
    def alive(self) -> bool:
        """Whether a kernel spoke."""
        return _ALIVE in self._text
