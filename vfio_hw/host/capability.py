"""Capabilities of this process: capabilities(7)."""

import contextlib
import ctypes
import os
from collections.abc import Iterator

from vfio_hw.errors import HarnessError, Unsupported

#: Source: linux/capability.h.
CAP_SYS_RAWIO, CAP_SYS_RESOURCE = 17, 24
_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3: two words of each set

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    """One word of each set, first of the capabilities 0 to 31, then of the others."""

    _fields_ = tuple(
        (f"{name}{word}", ctypes.c_uint32)
        for word in (0, 1)
        for name in ("effective", "permitted", "inheritable")
    )


@contextlib.contextmanager
def without(capability: int) -> Iterator[None]:
    """This thread is refused what needs the capability inside, and has it again after."""
    had = _sets("capget", _Sets())
    kept = _Sets.from_buffer_copy(had)
    word = f"effective{capability // 32}"
    setattr(kept, word, getattr(kept, word) & ~(1 << capability % 32))
    _sets("capset", kept)
    try:
        yield
    finally:
        _sets("capset", had)


def need(capability: int, what: str) -> None:
    """This thread has the capability.

    :param what: what takes it.
    :raises Unsupported: it has not.
    """
    word = f"effective{capability // 32}"
    if not getattr(_sets("capget", _Sets()), word) >> capability % 32 & 1:
        raise Unsupported(f"{what} takes more rights than user {os.geteuid()} has: run it as root")


def _sets(call: str, sets: _Sets) -> _Sets:
    header = _Header(_VERSION, 0)
    if getattr(_libc, call)(ctypes.byref(header), ctypes.byref(sets)):
        number = ctypes.get_errno()
        raise HarnessError(f"{call} of this process: {os.strerror(number)}: run it as root")
    return sets
