"""What an interface is used for: addresses, routes, bonds and whatever else stands on it."""

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.host.sysfs import attribute, names_in

# Source: linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h.
_NETLINK_ROUTE = 0
_GETADDR, _GETROUTE, _GETNEXTHOP = 22, 26, 106
_REQUEST, _DUMP = 1, 0x300
_DONE, _ERROR = 3, 2
_HEADER, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=HH")
_IFADDRMSG, _RTMSG = struct.Struct("=BBBBI"), struct.Struct("=BBBBBBBBI")
_NHMSG, _RTNEXTHOP = struct.Struct("=BBBBI"), struct.Struct("=HBBi")
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_MULTIPATH = 1, 4, 9
_NHA_ID, _NHA_OIF = 1, 5
_RTN_UNICAST = 1
_IFF_UP = 1  # linux/if.h
_PATIENCE = 5.0


@dataclass(frozen=True)
class Use:
    """One thing that an interface is used for: which rule speaks of it, and a sentence's end."""

    rule: str  #: ``address``, ``route``, ``bond``, ``stacked``, ``up``
    text: str


def uses(name: str, root: Path = Path("/")) -> list[Use]:
    """What the interface of this name in /sys/class/net carries."""
    path = root / "sys/class/net" / name
    index = int(attribute(path / "ifindex") or 0)
    found = []
    if addresses := _addresses(index):
        found.append(Use("address", f"{name} has the address {', '.join(addresses)}"))
    if routes := sorted(set(_routes(index))):
        found.append(Use("route", f"{name} has the route to {', '.join(routes)}"))
    if hops := _next_hops(index):
        found.append(Use("route", f"{name} has the next hop {', '.join(hops)} of routes"))
    for entry in names_in(path):
        if not entry.startswith("upper_"):
            continue
        upper = entry.removeprefix("upper_")
        if (root / "sys/class/net" / upper / "bonding").is_dir():
            found.append(Use("bond", f"{name} is part of the bond {upper}"))
        else:
            found.append(Use("stacked", f"{name} is under {upper}"))
    flags = int(attribute(path / "flags") or "0", 16)
    if not found and flags & _IFF_UP:
        # A macvlan that a container has, or a packet socket, leaves no other mark here.
        found.append(Use("up", f"{name} is up, so that something may use it"))
    return found


def elsewhere(device: Path) -> Iterator[tuple[Path, int]]:
    """The devices from here down in sysfs that have interfaces in other network namespaces.

    With how many. The interfaces of a device are in its directory ``net``, which shows those of
    the namespace that one looks from; its link count has all. Sources: get_device_parent() in
    drivers/base/core.c, kernfs_refresh_inode() in fs/kernfs/inode.c.
    """
    for directory, names, files in os.walk(device.resolve()):
        path = Path(directory)
        if path.name != "net" or files:  # a device of that name has attributes
            continue
        hidden = _links(path) - 2 - len(names)
        if hidden > 0:
            yield path.parent, hidden


def _links(path: Path) -> int:
    try:
        return path.stat().st_nlink
    except FileNotFoundError:  # the last interface has gone meanwhile
        return 0


def _addresses(index: int) -> list[str]:
    found = []
    for body in _dump(_GETADDR, _IFADDRMSG.pack(0, 0, 0, 0, 0)):
        family, prefix, _, _, of = _IFADDRMSG.unpack_from(body)
        if of != index:
            continue
        values = _attributes(body[_IFADDRMSG.size :])
        # On a line between two, IFA_ADDRESS is the other end's.
        raw = values.get(_IFA_LOCAL, values.get(_IFA_ADDRESS, b""))
        found.append(f"{_address(family, raw)}/{prefix}")
    return found


def _routes(index: int) -> list[str]:
    found = []
    for body in _dump(_GETROUTE, _RTMSG.pack(0, 0, 0, 0, 0, 0, 0, 0, 0)):
        family, bits, *_, kind, _ = _RTMSG.unpack_from(body)
        values = _attributes(body[_RTMSG.size :])
        if kind != _RTN_UNICAST or index not in _ways(values):
            continue
        destination = values.get(_RTA_DST)
        found.append("everywhere" if not destination else f"{_address(family, destination)}/{bits}")
    return found


def _ways(values: dict[int, bytes]) -> Iterator[int]:
    """The interfaces that a route leads out of: one, or with several ways each of them."""
    if len(out := values.get(_RTA_OIF, b"")) == 4:
        yield struct.unpack("=I", out)[0]
    hops = values.get(_RTA_MULTIPATH, b"")
    while len(hops) >= _RTNEXTHOP.size:
        length, _, _, index = _RTNEXTHOP.unpack_from(hops)
        yield index
        hops = hops[max((length + 3) & ~3, _RTNEXTHOP.size) :]


def _next_hops(index: int) -> list[str]:
    """The next hops that are objects of their own; a route may name one, and no interface."""
    found = []
    for body in _dump(_GETNEXTHOP, _NHMSG.pack(0, 0, 0, 0, 0)):
        values = _attributes(body[_NHMSG.size :])
        if values.get(_NHA_OIF) == struct.pack("=I", index):
            found.append(str(struct.unpack("=I", values[_NHA_ID])[0]))
    return found


def _address(family: int, raw: bytes) -> str:
    if family in (socket.AF_INET, socket.AF_INET6) and len(raw) in (4, 16):
        return str(ipaddress.ip_address(raw))
    return f"{raw.hex()} (family {family})"


def _dump(kind: int, body: bytes) -> Iterator[bytes]:
    """The bodies of the messages that answer one question to the kernel's routing tables."""
    size = _HEADER.size + len(body)
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE
    ) as link:
        link.settimeout(_PATIENCE)
        link.bind((0, 0))
        link.sendall(_HEADER.pack(size, kind, _REQUEST | _DUMP, 1, 0) + body)
        while True:
            data = link.recv(1 << 20)
            while data:
                length, answer, *_ = _HEADER.unpack_from(data)
                if answer == _DONE:
                    return
                if answer == _ERROR or length < _HEADER.size:
                    raise HarnessError(
                        "the kernel does not tell its addresses and routes over rtnetlink: is it"
                        " built with CONFIG_INET?"
                    )
                yield data[_HEADER.size : length]
                data = data[(length + 3) & ~3 :]


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            break
        found[kind] = data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]
    return found
