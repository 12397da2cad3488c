"""An eventfd, through which the kernel tells of an interrupt."""

import os
import select

from vfio_hw.errors import KernelSplat
from vfio_hw.vfio.descriptor import Descriptor


class EventFd(Descriptor):
    """An eventfd of ours; reading it never blocks.

    :param name: what its signal means, for the error of a wait that failed.
    """

    def __init__(self, name: str = "eventfd") -> None:
        super().__init__(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK), name)

    def signal(self) -> None:
        """Signal it ourselves, for whoever listens in the kernel."""
        os.eventfd_write(self.fileno(), 1)

    def fired(self) -> int:
        """How often it was signalled since it was last asked."""
        try:
            return os.eventfd_read(self.fileno())
        except BlockingIOError:
            return 0

    def silent(self, seconds: float) -> bool:
        """Whether it stays unsignalled for that long; a signal is left to be read."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return not poll.poll(seconds * 1000)

    def wait(self, deadline: float) -> int:
        """How often it was signalled, as soon as that is at least once.

        :raises KernelSplat: it was not signalled within ``deadline`` seconds.
        """
        if self.silent(deadline):
            raise KernelSplat(
                f"{self.name} was not signalled within {deadline:g} s: see /proc/interrupts and "
                "the kernel log",
                oracle="interrupt",
            )
        return self.fired()
