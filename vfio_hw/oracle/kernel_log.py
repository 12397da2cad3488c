"""The kernel log since the test began."""

import errno
import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.oracle.finding import Finding
from vfio_hw.oracle.iommu_faults import Faults, iommu_faults, reached_by, unreported
from vfio_hw.oracle.splats import Splat, splats, without_stamp

KMSG = Path("/dev/kmsg")

_NAME = "kernel log"
_RECORD_SIZE = 8192  # PRINTKRB_RECORD_MAX is 1024; /dev/kmsg refuses a smaller buffer than needed
_NOTICE = 5
_LONGEST_MARKER = 900  # the kernel refuses to log more than 1024 bytes at once
# The kernel logs few faults at a time: from the second on, the next may be kept back for so long.
_FAULTS_AT_ONCE, _FAULTS_SECONDS = 2, 5.0  # DEFAULT_RATELIMIT_INTERVAL, and BURST in dmar_fault()
_FAULT_DEADLINE = 2.0  # until a fault is logged
_QUIET = (
    0.05  # seconds without a line after which a report is whole, and a cause has had its effects
)
_LONGEST_REPORT = 3.0
_PAUSE = 0.005
# Source: debug_objects_oom() in lib/debugobjects.c.
_SILENCED = re.compile(r"ODEBUG: Out of memory")
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

    Faults of an IOMMU count like splats, but for those of the one device for which the test has
    declared them; these must come.

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
        # The first record since boot is number 0.
        self._sequence: int | None = -1 if since_boot else None
        self._lost = 0  # records that were overwritten unread
        self._earlier: list[Finding] = []
        self._lines: list[str] = []  # read, and not yet judged
        self._faults_at: list[float] = []
        self.silenced = ""
        """Why the kernel reports some faults no more, where it has said so."""

    def close(self) -> None:
        """The log is not needed any more."""
        os.close(self._descriptor)

    def before(self, test: str, *, faults: Faults = Faults.NONE) -> None:
        """Write a marker with the test's name into the log, for whoever reads a console later.

        Before a test that must see a fault it waits until the kernel is ready to log one.
        """
        # An ordinary user may be let read the log, and never write to it.
        if os.geteuid() == 0 or os.access(self._device, os.W_OK):
            self._mark(test)
        # To the marker and past it: its sequence number is what later losses are counted from.
        self._earlier = self._judge(f"logged before {test} began, after the test before it\n")
        if faults is not Faults.NONE and len(self._faults_at) >= _FAULTS_AT_ONCE:
            ready = self._faults_at[-1] + _FAULTS_SECONDS
            time.sleep(max(0.0, ready - time.monotonic()))

    def _mark(self, test: str) -> None:
        # A descriptor of its own: the kernel limits the rate of writes for each open file.
        marker = self._open(os.O_WRONLY)
        try:
            os.write(marker, f"<{_NOTICE}>vfio-hw: {test} begins\n".encode()[:_LONGEST_MARKER])
        finally:
            os.close(marker)

    def after(
        self, *, faults: Faults = Faults.NONE, of: str | None = None, each: Sequence[str] = ()
    ) -> list[Finding]:
        """The splats since the test before this one was judged.

        :param of: the PCI address of the device whose faults are declared.
        :param each: "read", "write": a fault of each must come; empty: one, whichever.
        """
        earlier, self._earlier = self._earlier, []
        if faults is Faults.MUST:
            return earlier + self._awaited(of, each) + self._judge("", of)
        return earlier + self._judge("", None if faults is Faults.NONE else of)

    def _awaited(self, of: str | None, each: Sequence[str]) -> list[Finding]:
        """Wait for the faults that the test has declared; a finding when one does not come."""
        end = time.monotonic() + _FAULT_DEADLINE
        self._read()
        while missing := unreported(self._lines, of, each):
            if time.monotonic() > end:
                text = (
                    f"the test declares faults of {of}, and the kernel logged none of any"
                    f" {' or '.join(missing)} within {_FAULT_DEADLINE:g} s after it: the device was"
                    " not stopped, or not reported"
                )
                return [Finding(_NAME, "no IOMMU fault came", text)]
            time.sleep(_PAUSE)
            self._read()
        time.sleep(_QUIET)
        return []

    def _judge(self, preface: str, of: str | None = None) -> list[Finding]:
        self._read()
        if splats(self._lines):
            self._read_on()
        lines, self._lines = self._lines, []
        lost, self._lost = self._lost, 0
        if any(map(_SILENCED.match, map(without_stamp, lines))):
            self.silenced = (
                "debug objects have switched themselves off for want of memory, and what they would"
                " have seen from here on is not: give the machine more memory"
            )
        reached = iommu_faults(lines)
        self._faults_at = self._recent() + [time.monotonic()] * len(reached)
        faults = [fault for fault in reached if of is None or reached_by(fault.text) != of]
        found = _findings(preface, splats(lines) + faults)
        if lost:
            text = (
                f"{preface}{lost} records were overwritten unread: boot with a larger log_buf_len"
            )
            found.append(Finding(_NAME, "the kernel log overflowed", text))
        return found

    def _read_on(self) -> None:
        """Wait for the rest of a report: its lines come one by one."""
        end = time.monotonic() + _LONGEST_REPORT
        count = -1
        while count < len(self._lines) and time.monotonic() < end:
            count = len(self._lines)
            time.sleep(_QUIET)
            self._read()

    def _recent(self) -> list[float]:
        now = time.monotonic()
        return [then for then in self._faults_at if now - then < _FAULTS_SECONDS]

    def _read(self) -> None:
        """Take what is new into ``_lines``, and count the records that were lost."""
        for record in self._records():
            if self._sequence is not None and record.sequence > self._sequence + 1:
                self._lost += record.sequence - self._sequence - 1
            self._sequence = record.sequence
            if record.facility == 0:
                self._lines += record.text.split("\n")

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
        except PermissionError as error:
            raise HarnessError(
                f"the kernel log {self._device} can not be opened ({error.strerror}): let root set"
                " kernel.dmesg_restrict=0 (sysctl), or run it as root"
            ) from None
        except OSError as error:
            raise HarnessError(
                f"the kernel log {self._device} can not be opened ({error.strerror}): use a kernel"
                " with CONFIG_PRINTK"
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
