"""What an actor does: a straight-line program of system calls over slots.

A program is a sequence of steps. A step is one raw system call; it is skipped when a slot that it
needs is empty, so what follows a failed open needs no condition.
"""

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypedDict, TypeVar, Unpack

from vfio_hw.errors import Unsupported
from vfio_hw.uapi import CData, ffi, lib

AT_FDCWD = -100
_M = TypeVar("_M")


@dataclass(frozen=True, eq=False)
class Slot:
    """A place for a file descriptor, or another number, that a call of this round returns.

    All actors of a round see the same slots, and all slots are empty when a round begins.

    :param descriptor: whether the engine closes what is left in it at the end of the round.
    :param mapping: not 0: it holds the address of a mapping of so many bytes, which the engine
        unmaps if it is left; such a number takes 64 bits in memory.
    """

    name: str
    descriptor: bool = True
    mapping: int = 0


@dataclass(frozen=True, eq=False)
class Page:
    """A page that is there before a race and after it, at one address in all of its processes.

    :param address: where it is; of this day alone, so no program holds the number.
    :param content: what is in it when a race begins, before zeros.
    """

    name: str
    address: int
    content: bytes = b""


@dataclass(frozen=True, eq=False)
class Memory:
    """Bytes that a call gets by address, anew in every round.

    :param stores: slots whose value is written (32 bits) at an offset before the call.
    :param loads: slots that receive the 32 bits found at an offset after the call succeeded; below
        0, as where a descriptor could be and is none, they stay empty.
    :param pointers: other memory, or a page, whose address (64 bits) is written at an offset.
    :param slow: it is on a page of its own, of a userfaultfd: who touches it first has to wait.
    """

    content: bytes
    stores: Mapping[int, Slot] = field(default_factory=dict)
    loads: Mapping[int, Slot] = field(default_factory=dict)
    pointers: Mapping[int, "Memory | Page"] = field(default_factory=dict)
    slow: bool = False


@dataclass(frozen=True, eq=False)
class Step:
    """One system call, or a touch of memory.

    :param label: what reports call it.
    :param request: the header's name of an ioctl's request.
    :param number: the system call's number on this architecture; negative: RACE_LOAD, RACE_STORE.
    :param into: the slot that receives a successful result.
    :param takes: the first argument's slot is empty from this call on.
    :param delay_ns: busy wait since the end of the step before.
    :param decisive: its result is part of the actor's outcome.
    """

    label: str
    number: int
    arguments: tuple["Argument", ...]
    into: Slot | None = None
    takes: bool = False
    delay_ns: int = 0
    decisive: bool = False
    request: str = ""


# Of a call: a number, what a slot holds, an address.
Argument = int | Slot | Memory | Page


class Options(TypedDict, total=False):
    """What every call accepts besides its own arguments; see :class:`Step`."""

    label: str
    into: Slot | None
    takes: bool
    delay_ns: int
    decisive: bool


def syscall(name: str, *arguments: Argument, **options: Unpack[Options]) -> Step:
    """The system call of that name with at most six arguments, raw.

    :raises Unsupported: when the engine does not know it on this architecture.
    """
    number = lib.race_call_number(name.encode())
    if number < 0:
        raise Unsupported(
            f"the race engine has no system call {name} on this architecture: add it to calls.h"
        )
    options.setdefault("label", name)
    return Step(number=number, arguments=arguments, **options)


def memory(
    content: CData,
    *,
    stores: Mapping[str, Slot] | None = None,
    loads: Mapping[str, Slot] | None = None,
    pointers: Mapping[str, Memory | Page] | None = None,
) -> Memory:
    """A copy of a cffi struct, with slots written to and read from its members by name.

    Addresses come into its members by ``pointers``, never as numbers: a failure file has to hold.

    :param content: a cffi pointer to the struct.
    """
    kind = ffi.typeof(content).item

    def by_offset(members: Mapping[str, _M] | None) -> dict[int, _M]:
        return {ffi.offsetof(kind, name): each for name, each in (members or {}).items()}

    return Memory(
        bytes(ffi.buffer(content)), by_offset(stores), by_offset(loads), by_offset(pointers)
    )


def pointer_to(slot: Slot) -> Memory:
    """The address of an int that holds the slot's value, as VFIO_GROUP_SET_CONTAINER wants it."""
    return Memory(bytes(4), stores={0: slot})


def ioctl(
    slot: Slot,
    request: str,
    argument: int | Slot | bytes | Memory | CData = 0,
    **options: Unpack[Options],
) -> Step:
    """The ioctl of that name in the header.

    :param argument: an integer or a slot, passed as it is; bytes, a :class:`Memory` or a cffi
        pointer, copied and passed by address.
    :raises Unsupported: when the binding does not know the request.
    """
    number = getattr(lib, request, None)
    if number is None:
        raise Unsupported(f"{request} is not among the declarations of vfio_hw.uapi: add it there")
    if isinstance(argument, bytes):
        argument = Memory(argument)
    elif not isinstance(argument, int | Slot | Memory):
        argument = memory(argument)
    options.setdefault("label", request)
    return replace(syscall("ioctl", slot, number, argument, **options), request=request)


def openat(path: str | os.PathLike[str], flags: int, **options: Unpack[Options]) -> Step:
    """Opens a path; O_CLOEXEC is added."""
    options.setdefault("label", f"open {os.fspath(path)}")
    name = Memory(os.fsencode(path) + b"\0")
    return syscall("openat", AT_FDCWD, name, flags | os.O_CLOEXEC, 0, **options)


def close(slot: Slot, **options: Unpack[Options]) -> Step:
    """Closes what the slot holds; the slot is empty as soon as the call begins."""
    options.setdefault("label", f"close {slot.name}")
    options["takes"] = True
    return syscall("close", slot, **options)


def read(slot: Slot, size: int, **options: Unpack[Options]) -> Step:
    """Reads at most ``size`` bytes and forgets them; the result is their number."""
    options.setdefault("label", f"read {slot.name}")
    return syscall("read", slot, Memory(bytes(size)), size, **options)


def write(slot: Slot, content: bytes, **options: Unpack[Options]) -> Step:
    """Writes the bytes to what the slot holds."""
    options.setdefault("label", f"write {slot.name}")
    return syscall("write", slot, Memory(content), len(content), **options)


def write_file(
    path: str | os.PathLike[str], content: bytes, *, decisive: bool = False
) -> tuple[Step, ...]:
    """Opens a file (of sysfs, say), writes the bytes at once and closes it.

    Opening and writing are both decisive when asked: an outcome shows which of them failed.
    """
    file = Slot(os.fspath(path))
    return (
        openat(path, os.O_WRONLY, into=file, decisive=decisive),
        write(file, content, decisive=decisive),
        close(file),
    )


def sleep_ns(duration_ns: int, **options: Unpack[Options]) -> Step:
    """Sleeps; for waits below some 100 us ``delay_ns`` of the next step is more exact."""
    options.setdefault("label", f"sleep {duration_ns} ns")
    duration = struct.pack("@ll", *divmod(duration_ns, 1_000_000_000))
    return syscall("nanosleep", Memory(duration), 0, **options)
