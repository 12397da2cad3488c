"""Limits of this process: descriptors, locked memory, privileges."""

import contextlib
import os
import resource
from collections.abc import Iterator

from vfio_hw.errors import Unsupported

_NOBODY = 65534


@contextlib.contextmanager
def no_free_descriptor() -> Iterator[None]:
    """Nothing can be opened inside."""
    free = os.open("/", os.O_RDONLY | os.O_CLOEXEC)
    os.close(free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def give_up_privileges(lockable: int, user: int | None = None) -> None:
    """Be an ordinary user, for good, who may lock so many bytes of memory.

    :param user: this one; None: whichever, also the one that this process is of.
    :raises Unsupported: it is of an ordinary user, and to be of another one.
    """
    own = os.geteuid()
    if own not in (0, user) and user is not None:
        raise Unsupported(f"to be user {user} is not for user {own}: run it as root")
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (lockable, lockable))
    if own == 0:
        number = _NOBODY if user is None else user
        os.setresgid(number, number, number)
        os.setresuid(number, number, number)
