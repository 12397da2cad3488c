"""The ports of the machine around this guest. Source: drivers/char/virtio_console.c."""

import os
from pathlib import Path

from vfio_hw.host.sysfs import attribute

PORTS = Path("/sys/class/virtio-ports")
NODES = Path("/dev")
#: Where a guest's requests go out, and its events, in which a serial port would be slow.
REQUESTS, EVENTS = "vfio-hw.requests", "vfio-hw.events"


def node_of(name: str) -> Path | None:
    """The node of the port that QEMU calls so; None where there is none, or its driver is not."""
    found = (port.name for port in PORTS.glob("*") if attribute(port / "name") == name)
    return next((NODES / port for port in found), None)


def quickest(serial: Path) -> Path:
    """The port to write events to in place of a serial one, where there is one, and we may.

    An emulated serial port takes 13 KB/s, a byte at a time, and who writes to it waits for that.
    """
    node = node_of(EVENTS)
    return node if node and os.access(node, os.W_OK) else serial
