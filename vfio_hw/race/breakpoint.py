"""Functions of the kernel in which who runs a race is held up a little: by breakpoints of the CPU.

Each time such a function is entered the CPU raises an exception, and the kernel unwinds the stack
for a sample that nobody takes. Source: perf_event_open(2), PERF_TYPE_BREAKPOINT.
"""

import contextlib
import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from vfio_hw.errors import HarnessError, Unsupported
from vfio_hw.uapi import lib

_SYMBOLS = Path("/proc/kallsyms")
# linux/perf_event.h, linux/hw_breakpoint.h
_BREAKPOINT, _EXECUTED, _CALLCHAIN = 5, 4, 1 << 5
_INHERIT, _EXCLUDE_USER, _EXCLUDE_HV = 1 << 1, 1 << 4, 1 << 6
_CLOEXEC = 1 << 3
_ATTR = "=IIQQQQQIIQQ"
#: As many as any CPU of a PC has; whoever has fewer says so.
MOST = 4

_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def held_up(functions: Sequence[str], symbols: Path = _SYMBOLS) -> Iterator["Counted"]:
    """Inside, this process and those that it begins are held up where they enter a function.

    :raises HarnessError: there is no such function, or more are named than there are breakpoints.
    :raises Unsupported: the kernel or the processor has no breakpoints. Where a kernel has no
        kprobes it lets none be set in itself: arch_build_bp_info() of x86.
    """
    addresses = [address for name in functions for address in _addresses(name, symbols)]
    if len(addresses) > MOST:
        raise HarnessError(
            f"{', '.join(functions)} are {len(addresses)} places in the kernel, and there are"
            f" {MOST} breakpoints: name fewer"
        )
    counted = Counted()
    try:
        # The more of them there are at a place, the longer it takes.
        for turn in range(MOST // len(addresses)):
            for address in addresses:
                descriptor = _opened(address)
                if descriptor is None and not turn:
                    raise Unsupported(f"no breakpoint is left for {', '.join(functions)}")
                if descriptor is not None:
                    counted.descriptors.append(descriptor)
        yield counted
    finally:
        for descriptor in counted.descriptors:
            os.close(descriptor)


class Counted:
    """Breakpoints that are set."""

    def __init__(self) -> None:
        self.descriptors: list[int] = []

    @property
    def hits(self) -> int:
        """How often one of the functions was entered so far."""
        return max(int.from_bytes(os.read(each, 8), sys.byteorder) for each in self.descriptors)


def _addresses(name: str, symbols: Path) -> list[int]:
    """Where functions of that name are: in the kernel, and in its modules."""
    found = []
    with symbols.open() as lines:
        for line in lines:
            address, kind, symbol, *_ = line.split()
            if symbol == name and kind in "tT":
                found.append(int(address, 16))
    if not found:
        raise HarnessError(
            f"the kernel has no function {name}: look for its name in {symbols}, it may be part of"
            " another, or of a module that is not loaded"
        )
    if not all(found):
        raise HarnessError(f"{symbols} hides where {name} is: run it as root (sudo)")
    return found


def _opened(address: int) -> int | None:
    """A breakpoint there; None when there is none left."""
    number = lib.race_call_number(b"perf_event_open")
    flags = _INHERIT | _EXCLUDE_USER | _EXCLUDE_HV
    words = (_BREAKPOINT, struct.calcsize(_ATTR), 0, 1, _CALLCHAIN, 0, flags, 0, _EXECUTED)
    attr = struct.pack(_ATTR, *words, address, struct.calcsize("@l"))
    descriptor = int(_libc.syscall(number, attr, 0, -1, -1, _CLOEXEC))
    if descriptor >= 0:
        return descriptor
    error = ctypes.get_errno()
    if error == errno.ENOSPC:
        return None
    raise Unsupported(
        f"a breakpoint at {address:#x} was refused ({os.strerror(error)}): it needs a processor"
        " with breakpoints, root, and a kernel with perf events and kprobes (latest-debug)",
        option="CONFIG_KPROBES",
    )
