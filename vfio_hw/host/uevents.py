"""What the kernel tells of its devices as it happens, with or without a udev that listens.

Source: kobject_uevent_env() in lib/kobject_uevent.c; linux/netlink.h.
"""

import contextlib
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_KOBJECT_UEVENT = 15  # NETLINK_KOBJECT_UEVENT
_KERNEL = 1  # the group of what the kernel itself says
_AT_ONCE = 1 << 13
_SYS = Path("/sys")


@dataclass(frozen=True)
class Uevent:
    """One event: what was done (``add``, ``remove``, ``change``), to which directory of sysfs."""

    action: str
    path: Path
    properties: dict[str, str]


class Uevents:
    """The events since this began."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener

    def until(self, wanted: Uevent, deadline: float) -> list[Uevent]:
        """The events that came up to one like this, as long as ``deadline`` seconds have not gone.

        One is like it that has all its properties; when none came it is not the last.
        """
        end, found = time.monotonic() + deadline, list[Uevent]()
        while select.select([self._listener], [], [], max(0.0, end - time.monotonic()))[0]:
            found.append(_read(self._listener.recv(_AT_ONCE)))
            if _like(found[-1], wanted):
                break
        return found


@contextlib.contextmanager
def listening() -> Iterator[Uevents]:
    """The kernel's events are heard inside."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _KOBJECT_UEVENT) as listener:
        listener.bind((0, _KERNEL))
        yield Uevents(listener)


def _read(message: bytes) -> Uevent:
    # The head says no more than the properties do.
    _, *lines = message.decode(errors="replace").rstrip("\0").split("\0")
    named = dict(line.partition("=")[::2] for line in lines)
    path = _SYS / named.pop("DEVPATH").lstrip("/")
    return Uevent(named.pop("ACTION"), path, named)


def _like(one: Uevent, wanted: Uevent) -> bool:
    return (one.action, one.path) == (wanted.action, wanted.path) and (
        wanted.properties.items() <= one.properties.items()
    )
