"""What the kernel has logged since a test began, for whoever looks from outside of the test."""

import os
from pathlib import Path

from vfio_hw.oracle.kernel_log import KMSG, parsed

_RECORD_SIZE = 8192


class Log:
    """The kernel log from here on."""

    def __init__(self, device: Path = KMSG) -> None:
        self._descriptor, self._why = -1, ""
        try:
            self._descriptor = os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            self._why = f"({device}: {error.strerror})"

    def begin(self) -> None:
        """Leave out everything so far."""
        if self._descriptor >= 0:
            os.lseek(self._descriptor, 0, os.SEEK_END)

    def lines(self) -> list[str]:
        """What the kernel has logged since this was last called."""
        if self._descriptor < 0:
            return [self._why]
        found: list[str] = []
        while True:
            try:
                record = parsed(os.read(self._descriptor, _RECORD_SIZE))
            except BrokenPipeError:  # overwritten before it was read: go on with what is left
                continue
            except BlockingIOError:
                return found
            if record.facility == 0:
                found += record.text.split("\n")
