"""Limits of this process: descriptors, locked memory, privileges."""

import contextlib
import os
import resource
from collections.abc import Iterator

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


def give_up_privileges(lockable: int, user: int = _NOBODY) -> None:
    """Be an ordinary user, for good, who may lock so many bytes of memory."""
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (lockable, lockable))
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
