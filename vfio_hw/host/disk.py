"""A look at a disk itself: that the kernel has claimed it, and what it says it belongs to."""

import errno
import json
import os
import stat
import time
from functools import partial
from pathlib import Path

from vfio_hw.host.questions import answers
from vfio_hw.host.signatures import signature
from vfio_hw.host.sysfs import names_in

_PATIENCE, _WHOLE = 5.0, 30.0  # seconds for one disk, and for all of them


class Look:
    """Looks at disks that show no use, each with a deadline: a dead one costs its own answer.

    :param root: where /sys and /dev are.
    :param claim: claim each for a moment, with O_EXCL.
    """

    def __init__(self, root: Path, *, claim: bool) -> None:
        self._root, self._claim, self._left = root, claim, _WHOLE

    def at(self, name: str, numbers: tuple[int, int]) -> tuple[str, str] | None:
        """The rule that speaks against the disk of this name, and a sentence's end; None: none."""
        question = partial(_seen, name, numbers, self._root, claim=self._claim)
        began = time.monotonic()
        (answer,) = answers([question], patience=_PATIENCE, end=began + self._left)
        self._left -= time.monotonic() - began
        if answer.startswith("("):
            return "unread", f"can not be looked at {answer}"
        rule, text = json.loads(answer)
        return (rule, text) if rule else None


def _seen(name: str, numbers: tuple[int, int], root: Path, *, claim: bool) -> str:
    return json.dumps(_look(name, numbers, root, claim=claim) or ("", ""))


def _look(
    name: str, numbers: tuple[int, int], root: Path, *, claim: bool
) -> tuple[str, str] | None:
    path = root / "dev" / name.replace("!", "/")
    status = path.stat()
    if root == Path("/") and (
        not stat.S_ISBLK(status.st_mode)
        or (os.major(status.st_rdev), os.minor(status.st_rdev)) != numbers
    ):
        return "unread", f"can not be looked at: {path} is not its node"
    # O_EXCL on a disk: EBUSY while the kernel has claimed it, for whatever it is.
    exclusive = os.O_EXCL if claim else 0
    try:
        descriptor = os.open(path, os.O_RDONLY | exclusive | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EBUSY:
            # A disk is claimed when one of its partitions is; they say already what for.
            return None if _has_partitions(name, root) else ("claimed", "is claimed in the kernel")
        if error.errno in (errno.ENXIO, errno.ENOMEDIUM):
            return None
        raise
    try:
        found = signature(descriptor)
    finally:
        os.close(descriptor)
    return (found.rule, f"is {found.text}") if found else None


def _has_partitions(name: str, root: Path) -> bool:
    directory = root / "sys/class/block" / name
    return any((directory / entry / "partition").exists() for entry in names_in(directory))
