"""Small files and directories by plain system calls.

Under an emulator a path object costs several times what the kernel needs for its answer.
"""

import os

_SIZE = 65536


def contents(path: str) -> str | None:
    """The text of a file without white space round it; None when it can not be read (any more)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    parts = []
    try:
        while part := os.read(descriptor, _SIZE):
            parts.append(part)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return b"".join(parts).decode(errors="replace").strip()


def number(path: str) -> int | None:
    """The decimal number in a file; None when there is none to be read."""
    text = contents(path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def lines(path: str) -> list[str]:
    """The lines of a file; none when it can not be read.

    Only a newline ends one: names in it may hold what ends a line elsewhere.
    """
    text = contents(path)
    return text.split("\n") if text else []


def names(directory: str) -> list[str]:
    """The names in a directory; none when it can not be listed."""
    try:
        with os.scandir(directory) as found:
            return [entry.name for entry in found]
    except OSError:
        return []


def target(link: str) -> str | None:
    """What a symbolic link says; None when it is not there (any more)."""
    try:
        return os.readlink(link)  # noqa: PTH115 (see the head of this file)
    except OSError:
        return None
