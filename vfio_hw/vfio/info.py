"""Info requests: a struct that the kernel fills, and the chain of capabilities behind it."""

from dataclasses import dataclass
from typing import Any

from vfio_hw.errors import KernelSplat
from vfio_hw.uapi import calls, ffi, ioctl


@dataclass(frozen=True)
class Answer:
    """What an info request came back with.

    ``head`` is the struct, read only; ``capabilities`` has by id the bytes of each capability from
    its header on, and whatever follows it: how long a capability is, only its own layout says.
    """

    head: Any
    capabilities: dict[int, bytes]


def ask(fd: int, request: str, name: str, *, on: str, **members: int) -> Answer:
    """Issue the info request that takes ``struct name``, with as much room as the kernel asks for.

    :raises KernelRefused: with the errno of the request.
    :raises KernelSplat: the chain of capabilities leaves the struct, or runs backwards.
    """
    size = ffi.sizeof(f"struct {name}")
    while True:
        memory = ffi.new("char[]", size)
        head: Any = ffi.cast(f"struct {name} *", memory)
        for member, value in (members | {"argsz": size}).items():
            setattr(head, member, value)
        ioctl(fd, request, memory, on=on)
        if head.argsz <= size:
            break
        size = head.argsz  # the kernel says how much room all capabilities take
    data = bytes(ffi.buffer(memory))
    answer = capability(f"struct {name}", data)
    found = _chain(data, getattr(answer, "cap_offset", 0), f"{request} on {on}")
    calls.note_capabilities(request, found)
    return Answer(answer, found)


def capability(layout: str, data: bytes) -> Any:
    """The bytes as a pointer to ``layout`` (``struct vfio_info_cap_header``), read only."""
    return ffi.from_buffer(f"{layout} *", data)


def _chain(data: bytes, offset: int, source: str) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    end = len(data) - ffi.sizeof("struct vfio_info_cap_header")
    before = 0
    while offset:
        if not before < offset <= end:
            raise KernelSplat(
                f"{source} answered {len(data)} bytes with a capability at {offset} after the one "
                f"at {before}: read how the driver builds the chain",
                oracle="answer",
            )
        before = offset
        header = capability("struct vfio_info_cap_header", data[offset:])
        found[header.id] = data[offset:]
        offset = header.next
    return found
