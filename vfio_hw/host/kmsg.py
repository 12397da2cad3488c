"""What the kernel logs while a test looks on; the oracles read the log by themselves."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

KMSG = Path("/dev/kmsg")
_RECORD_SIZE = 8192


@contextlib.contextmanager
def listening() -> Iterator[Callable[[], str]]:
    """Inside, a call returns all that was logged since the last one, as /dev/kmsg has it."""
    with KMSG.open("rb", buffering=0) as log:
        os.set_blocking(log.fileno(), False)
        log.seek(0, os.SEEK_END)

        def unread() -> str:
            records: list[bytes] = []
            while True:
                try:
                    record = log.read(_RECORD_SIZE)
                except BrokenPipeError:
                    continue  # one was overwritten before it was read; the next read gives another
                if record is None:
                    return b"".join(records).decode(errors="replace")
                records.append(record)

        yield unread
