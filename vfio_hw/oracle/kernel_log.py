"""The kernel log since the test began."""

import errno
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.oracle.finding import Finding
from vfio_hw.oracle.splats import Splat, splats

KMSG = Path("/dev/kmsg")

_NAME = "kernel log"
_RECORD_SIZE = 8192  # PRINTKRB_RECORD_MAX is 1024; /dev/kmsg refuses a smaller buffer than needed
_NOTICE = 5
_LONGEST_MARKER = 900  # the kernel refuses to log more than 1024 bytes at once
_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")


@dataclass(frozen=True)
class Record:
    """One record of /dev/kmsg.

    ``facility`` is 0 for what the kernel said and never 0 for what a program wrote into the log.
    Source: Documentation/ABI/testing/dev-kmsg.
    """

    facility: int
    sequence: int
    text: str


def parsed(record: bytes) -> Record:
    """A record as read from /dev/kmsg; its continuation lines (device, subsystem) are dropped."""
    head, _, body = record.partition(b";")
    fields = head.split(b",")
    text = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), body.split(b"\n", 1)[0])
    return Record(int(fields[0]) >> 3, int(fields[1]), text.decode(errors="replace"))


class KernelLog:
    """Finds every splat that the kernel logged, and text that was lost before it was read.

    What comes up between two tests is reported with the later one, which says so. Text that
    programs wrote into the log, the markers of this class among it, is never taken for a splat.
    """

    def __init__(self, device: Path = KMSG, *, since_boot: bool = False) -> None:
        """Open the log at its end, or where it begins.

        :raises HarnessError: /dev/kmsg can not be opened.
        """
        self._device = device
        self._descriptor = self._open(os.O_RDONLY | os.O_NONBLOCK)
        if not since_boot:
            os.lseek(self._descriptor, 0, os.SEEK_END)
        self._sequence: int | None = None
        self._earlier: list[Finding] = []

    def close(self) -> None:
        """The log is not needed any more."""
        os.close(self._descriptor)

    def before(self, test: str) -> None:
        """Write a marker with the test's name into the log, for whoever reads a console later."""
        # A descriptor of its own: the kernel limits the rate of writes for each open file.
        marker = self._open(os.O_WRONLY)
        try:
            os.write(marker, f"<{_NOTICE}>vfio-hw: {test} begins\n".encode()[:_LONGEST_MARKER])
        finally:
            os.close(marker)
        # To the marker and past it: its sequence number is what later losses are counted from.
        self._earlier = self._judge(f"logged before {test} began, after the test before it\n")

    def after(self) -> list[Finding]:
        """The splats since the test before this one was judged."""
        earlier, self._earlier = self._earlier, []
        return earlier + self._judge("")

    def _judge(self, preface: str) -> list[Finding]:
        lines: list[str] = []
        lost = 0
        for record in self._records():
            if self._sequence is not None and record.sequence > self._sequence + 1:
                lost += record.sequence - self._sequence - 1
            self._sequence = record.sequence
            if record.facility == 0:
                lines += record.text.split("\n")
        found = _findings(preface, splats(lines))
        if lost:
            text = (
                f"{preface}{lost} records were overwritten unread: boot with a larger log_buf_len"
            )
            found.append(Finding(_NAME, "the kernel log overflowed", text))
        return found

    def _records(self) -> Iterator[Record]:
        while True:
            try:
                yield parsed(os.read(self._descriptor, _RECORD_SIZE))
            except BlockingIOError:
                return
            except OSError as error:
                # The record to be read was overwritten; the next read gives the oldest one left,
                # whose sequence number tells how many were lost.
                if error.errno != errno.EPIPE:
                    raise

    def _open(self, flags: int) -> int:
        try:
            return os.open(self._device, flags | os.O_CLOEXEC)
        except OSError as error:
            raise HarnessError(
                f"the kernel log {self._device} can not be opened ({error.strerror}): run it as"
                " root, on a kernel with CONFIG_PRINTK"
            ) from None


def _findings(preface: str, reports: list[Splat]) -> list[Finding]:
    """One finding for each title, with the text of the first report and the number of others."""
    first: dict[str, str] = {}
    for splat in reports:
        first.setdefault(splat.title, splat.text)
    times = Counter(splat.title for splat in reports)
    return [
        Finding(
            _NAME,
            title,
            f"{preface}{text}" + (f"\n(reported {times[title]} times)" if times[title] > 1 else ""),
        )
        for title, text in first.items()
    ]
