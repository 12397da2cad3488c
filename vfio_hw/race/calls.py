"""Steps beyond those of program.py: mappings and their memory, polling, sockets, processes."""

import os
import struct
from typing import Unpack

from vfio_hw.race.program import Memory, Options, Slot, Step, syscall
from vfio_hw.uapi import lib

_SCM_RIGHTS = 1
_SOL_SOCKET = 1


def pread(slot: Slot, size: int, offset: int, **options: Unpack[Options]) -> Step:
    """Reads at most ``size`` bytes at the offset and forgets them; the result is their number."""
    options.setdefault("label", f"pread {slot.name}")
    return syscall("pread64", slot, Memory(bytes(size)), size, offset, **options)


def pwrite(slot: Slot, content: bytes, offset: int, **options: Unpack[Options]) -> Step:
    """Writes the bytes at the offset."""
    options.setdefault("label", f"pwrite {slot.name}")
    return syscall("pwrite64", slot, Memory(content), len(content), offset, **options)


def mapping(name: str, size: int) -> Slot:
    """A slot for the address of a mapping of ``size`` bytes."""
    return Slot(name, descriptor=False, mapping=size)


def mmap(
    where: Slot,
    slot: Slot | int = -1,
    offset: int = 0,
    *,
    protection: int = 3,
    flags: int = 1,
    address: int = 0,
    **options: Unpack[Options],
) -> Step:
    """Maps what the slot holds into ``where``, which says how much of it.

    :param where: from :func:`mapping`.
    :param slot: -1: no file; the flags then have MAP_ANONYMOUS (0x20).
    :param protection: PROT_READ | PROT_WRITE, unless told otherwise; ``flags``: MAP_SHARED.
    """
    options.setdefault("label", f"mmap {where.name}")
    options["into"] = where
    return syscall("mmap", address, where.mapping, protection, flags, slot, offset, **options)


def munmap(where: Slot, **options: Unpack[Options]) -> Step:
    """Unmaps what the slot holds; it is empty as soon as the call begins."""
    options.setdefault("label", f"munmap {where.name}")
    options["takes"] = True
    return syscall("munmap", where, where.mapping, **options)


def load(where: Slot, offset: int = 0, size: int = 4, **options: Unpack[Options]) -> Step:
    """Loads from the mapping; the outcome of a fault is the signal: SIGBUS, SIGSEGV."""
    options.setdefault("label", f"load {where.name}")
    return Step(number=lib.RACE_LOAD, arguments=(where, offset, size), **options)


def store(
    where: Slot, value: int, offset: int = 0, size: int = 4, **options: Unpack[Options]
) -> Step:
    """Stores to the mapping; the outcome of a fault is the signal: SIGBUS, SIGSEGV."""
    options.setdefault("label", f"store {where.name}")
    return Step(number=lib.RACE_STORE, arguments=(where, offset, size, value), **options)


def poll(slot: Slot, events: int, timeout_ns: int, **options: Unpack[Options]) -> Step:
    """Waits for events (POLLIN ...), not longer than that; the result is 1, or 0 without one."""
    options.setdefault("label", f"poll {slot.name}")
    asked = Memory(struct.pack("=ihh", 0, events, 0), stores={0: slot})
    timeout = Memory(struct.pack("@ll", *divmod(timeout_ns, 1_000_000_000)))
    return syscall("ppoll", asked, 1, timeout, 0, 8, **options)


def dup(slot: Slot, copy: Slot, **options: Unpack[Options]) -> Step:
    """A second descriptor of the same open file."""
    options.setdefault("label", f"dup {slot.name}")
    options["into"] = copy
    return syscall("dup", slot, **options)


def socketpair(one: Slot, other: Slot, **options: Unpack[Options]) -> Step:
    """Two connected sockets that datagrams, and descriptors, can be sent through."""
    options.setdefault("label", "socketpair")
    af_unix, seqpacket, cloexec = 1, 5, os.O_CLOEXEC
    pair = Memory(bytes(8), loads={0: one, 4: other})
    return syscall("socketpair", af_unix, seqpacket | cloexec, 0, pair, **options)


def send_descriptor(socket: Slot, slot: Slot, **options: Unpack[Options]) -> Step:
    """Sends what the slot holds: the message keeps the file open until it is received.

    Source: unix(7), SCM_RIGHTS.
    """
    options.setdefault("label", f"send {slot.name}")
    control = struct.pack("@Nii", _CONTROL_LENGTH, _SOL_SOCKET, _SCM_RIGHTS) + bytes(8)
    return syscall("sendmsg", socket, _message(Memory(control, stores={_DATA: slot})), 0, **options)


def receive_descriptor(socket: Slot, slot: Slot, **options: Unpack[Options]) -> Step:
    """Receives a descriptor that was sent; EAGAIN when none was.

    Where none is free for it the message comes without, and the slot stays empty: recvmsg(2),
    MSG_CTRUNC.
    """
    options.setdefault("label", f"receive {slot.name}")
    dontwait, cloexec = 0x40, 0x40000000
    none = struct.pack("@i", -1)
    message = _message(Memory(bytes(_DATA) + none + bytes(4), loads={_DATA: slot}))
    return syscall("recvmsg", socket, message, dontwait | cloexec, **options)


def kill(process: Slot, signal: int, **options: Unpack[Options]) -> Step:
    """Sends a signal to the process of an actor, by the slot that received its number."""
    options.setdefault("label", f"kill {process.name}")
    return syscall("kill", process, signal, **options)


def exits(**options: Unpack[Options]) -> Step:
    """Ends the process, if the actor is one of its own: all that it has open is closed."""
    options.setdefault("label", "exit")
    return syscall("exit_group", 0, **options)


# struct cmsghdr: a size_t and two ints, then the data.
_DATA = struct.calcsize("@Nii")
_CONTROL_LENGTH = _DATA + 4


def _message(control: Memory) -> Memory:
    """A struct msghdr with one byte of data and the control message."""
    byte = Memory(b"x")
    vector = Memory(struct.pack("@NN", 0, 1), pointers={0: byte})
    # name, its length, vector, its count, control, its length, flags
    layout = "@NiNNNNi"
    places = [struct.calcsize(layout[:size] + layout[size]) for size in range(1, len(layout))]
    starts = [
        end - struct.calcsize("@" + kind) for end, kind in zip(places, layout[1:], strict=True)
    ]
    content = struct.pack(layout, 0, 0, 0, 1, 0, len(control.content), 0)
    return Memory(content, pointers={starts[2]: vector, starts[4]: control})
