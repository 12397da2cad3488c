"""A sysfs read that the kernel may never answer is made by a child process and has a deadline.

The show operation of some attributes takes the lock of the device, which a driver's probe and an
unbind hold: also one that waits until the last descriptor of the device is closed. No signal ends
that wait, so it must never be our own process that waits, which may have the device open itself.
"""

import errno
import os
from pathlib import Path

from vfio_hw.errors import HarnessError, KernelSplat
from vfio_hw.host.sysfs import attribute
from vfio_hw.host.writer import ERRNO, STARTED, Writer, taken

#: Source: sriov_numvfs_show(), drivers/pci/iov.c; driver_override_show(), drivers/pci/pci-sysfs.c
#: of kernels before the override was one of all buses.
LOCKED = frozenset({"driver_override", "sriov_numvfs"})
PATIENCE = 10.0  # seconds; a probe may take its time
_START_DEADLINE = 10.0
_LONGEST = 65536


def read(path: Path) -> str | None:
    """As :func:`vfio_hw.host.sysfs.attribute`; of one whose device may be locked, with a deadline.

    :raises KernelSplat: the kernel did not answer in time.
    """
    return locked_attribute(path) if path.name in LOCKED else attribute(path)


def locked_attribute(path: Path, deadline: float = PATIENCE) -> str | None:
    """The text of an attribute without its newline; None when it is not there (any more).

    :raises KernelSplat: the read did not return within ``deadline`` seconds.
    """
    reader = taken()
    try:
        answer = _answer(reader, path, deadline)
    except BaseException:
        reader.kill()
        raise
    reader.give_back()
    (number,) = ERRNO.unpack_from(answer)
    if number in (errno.ENOENT, errno.ENODEV, errno.ENOTDIR):
        return None
    if number:
        raise OSError(number, os.strerror(number), str(path))
    return os.fsdecode(answer[ERRNO.size :]).strip()


def _answer(reader: Writer, path: Path, deadline: float) -> bytes:
    reader.ask(path)
    if not reader.answer(STARTED.size, _START_DEADLINE):
        raise HarnessError(f"the child that reads {path} did not start: try again")
    answer = reader.answer(_LONGEST, deadline)
    if answer is None:
        raise KernelSplat(
            f"read of {path} did not return within {deadline:g} s: a probe or an unbind has the"
            " device's lock, end who has the device open",
            oracle="hang",
        )
    if not answer:
        raise HarnessError(f"the child that reads {path} was killed: try again")
    return answer
