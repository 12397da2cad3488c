"""A fork of this process that lives something, and can be killed in the middle of it."""

import contextlib
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from typing import NoReturn

from vfio_hw.errors import KernelSplat, Unsupported
from vfio_hw.host.process import process_state

# Seconds. A child that opens a device has done so in one, under emulation on a busy machine too.
READY = 10.0
_END = 5.0

Life = Callable[[Callable[[], None]], None]


@contextlib.contextmanager
def forked(life: Life) -> Iterator[int]:
    """A fork of this process lives ``life`` inside, and is killed after; yields its pid.

    :param life: gets a function to call when it is ready, which comes back when this process ends.
    :raises KernelSplat: the child was not ready, or not gone, in time; or it ended before it was
        ready, and this says with what exception.
    :raises Unsupported: so did it, of what no kernel option promises.
    """
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        _live(life, ours, theirs)
    # With its end open here as well, a child that ended would be waited for in vain.
    theirs.close()
    try:
        _expect_ready(child, ours)
        yield child
    finally:
        ours.close()
        _kill(child)


def _kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    end = os.pidfd_open(child)
    try:
        poll = select.poll()
        poll.register(end, select.POLLIN)
        if not poll.poll(_END * 1000):
            raise KernelSplat(
                f"the forked process {child} was killed and is there {_END:g} s later:"
                f" {process_state(child)}",
                oracle="hang",
            )
        os.waitpid(child, 0)
    finally:
        os.close(end)


def _live(life: Life, ours: socket.socket, theirs: socket.socket) -> NoReturn:
    """The whole life of the child; never returns."""

    def ready() -> None:
        theirs.sendall(b"ready")
        theirs.recv(1)

    try:
        ours.close()
        life(ready)
    except Unsupported as error:
        kind = "Unsupported" if error.option is None else f"Unsupported ({error.option})"
        theirs.sendall(f"{kind}: {error}".encode())
    except BaseException as error:
        theirs.sendall(f"{type(error).__name__}: {error}".encode())
    finally:
        os._exit(1)


def _expect_ready(child: int, channel: socket.socket) -> None:
    channel.settimeout(READY)
    try:
        said = channel.recv(4096)
    except TimeoutError:
        raise KernelSplat(
            f"the forked process {child} was not ready within {READY:g} s: {process_state(child)}",
            oracle="hang",
        ) from None
    if said != b"ready":
        text = said.decode() or "it said nothing"
        if text.startswith("Unsupported: "):
            raise Unsupported(text.partition(": ")[2])
        raise KernelSplat(f"the forked process {child} ended too early: {text}", oracle="answer")
