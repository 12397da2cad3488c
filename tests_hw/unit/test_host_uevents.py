"""This file checks that what the kernel tells of its devices is read, and waited for no longer."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from vfio_hw.host.uevents import Uevent, Uevents

PARENT = Path("/sys/devices/virtual/mtty/mtty")


@pytest.fixture
def both() -> Iterator[tuple[socket.socket, Uevents]]:
    """Who tells, and who listens."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        yield one, Uevents(other)


def told(kernel: socket.socket, action: str, path: Path, **properties: str) -> None:
    where = "/" + str(path.relative_to("/sys"))
    lines = {"ACTION": action, "DEVPATH": where, **properties, "SEQNUM": "7"}
    text = [f"{action}@{where}", *(f"{name}={value}" for name, value in lines.items())]
    kernel.send("\0".join(text).encode() + b"\0")


def test_all_is_returned_up_to_what_was_waited_for(both):
    kernel, uevents = both
    told(kernel, "add", PARENT / "one")
    told(kernel, "change", PARENT, MDEV_STATE="unregistered")
    told(kernel, "change", PARENT, MDEV_STATE="registered", NOTE="a=b")
    told(kernel, "remove", PARENT)
    wanted = Uevent("change", PARENT, {"MDEV_STATE": "registered"})
    first, second, last = uevents.until(wanted, 1.0)
    assert (first.action, first.path) == ("add", PARENT / "one")
    assert second.properties["MDEV_STATE"] == "unregistered"
    assert last.properties == {"MDEV_STATE": "registered", "NOTE": "a=b", "SEQNUM": "7"}
    assert [each.action for each in uevents.until(Uevent("remove", PARENT, {}), 1.0)] == ["remove"]


def test_what_does_not_come_is_not_waited_for_after_the_deadline(both):
    kernel, uevents = both
    told(kernel, "add", PARENT)
    assert [each.action for each in uevents.until(Uevent("remove", PARENT, {}), 0.01)] == ["add"]
    assert uevents.until(Uevent("remove", PARENT, {}), 0.0) == []
