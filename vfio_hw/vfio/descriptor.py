"""File descriptors that are closed exactly once, and calls whose refusal is the answer."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self

from vfio_hw.errors import HarnessError, KernelRefused, Unsupported

P = ParamSpec("P")


class Descriptor:
    """Owns a file descriptor; a context manager that closes it on the way out.

    :param name: what it stands for in an error's sentence (a path, a device's name).
    """

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self.name = name

    def fileno(self) -> int:
        """The number of the descriptor.

        :raises HarnessError: it was closed.
        """
        if self._fd < 0:
            raise HarnessError(f"{self.name} was used after it was closed: keep it open longer")
        return self._fd

    @property
    def closed(self) -> bool:
        """It was closed, or given away."""
        return self._fd < 0

    def close(self) -> None:
        """Close the descriptor; nothing happens when that was done before."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __str__(self) -> str:
        return self.name


def next_free(opened: Descriptor) -> int:
    """The number of the descriptor that is opened next."""
    free = os.dup(opened.fileno())
    os.close(free)
    return free


def open_node(path: Path) -> int:
    """Open a device node for reading and writing; a child that executes does not inherit it.

    :raises KernelRefused: with the errno of the open.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise KernelRefused(error.errno or 0, "open", str(path)) from None


def open_offered(path: Path, option: str) -> int:
    """The same for a node that is there whenever the kernel has ``option``.

    :raises Unsupported: there is no such node.
    """
    if not path.exists():
        raise Unsupported(
            f"there is no {path}: use a kernel with {option}, and load its module", option=option
        )
    return open_node(path)


def errno_of(call: Callable[P, object]) -> Callable[P, int]:
    """The same call for a test that expects a refusal: it returns the errno, 0 when there is none.

    What a call that succeeds has opened is closed again.
    """

    @functools.wraps(call)
    def answer(*arguments: P.args, **keywords: P.kwargs) -> int:
        try:
            result = call(*arguments, **keywords)
        except KernelRefused as refused:
            return refused.errno or 0
        if isinstance(result, Descriptor):
            result.close()
        return 0

    return answer
