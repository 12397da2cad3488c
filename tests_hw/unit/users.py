"""What a process of another user gets, which root alone can become, or of an ordinary one."""

import os
from collections.abc import Callable

import pytest

#: Ordinary ones.
USERS = (1000, 1001)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users, as root only can")


def as_ordinary(do: Callable[[], object]) -> str:
    """What an ordinary user gets, who is ourselves unless we are root."""
    return as_user(os.geteuid() or USERS[0], do)


def as_user(user: int, do: Callable[[], object]) -> str:
    """What it returns, or raises, in a process of this user."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.umask(0o077)
        if os.geteuid() != user:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        try:
            text = str(do())
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
        os.write(writer, text.encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as file:
        return file.read()
