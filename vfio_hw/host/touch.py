"""What touching mapped memory does to a process."""

import os
import select
import signal

from vfio_hw.errors import KernelSplat
from vfio_hw.host.process import process_state

# Seconds.
_PROMPT = 5.0


def touched(window: memoryview) -> int:
    """The signal that reading the first register gives a child of ours; 0: it was read.

    :raises KernelSplat: the read hangs.
    """
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGBUS, signal.SIG_DFL)
            os._exit(window[0] * 0)
        finally:
            os._exit(1)
    end = os.pidfd_open(child)
    try:
        poll = select.poll()
        poll.register(end, select.POLLIN)
        if not poll.poll(_PROMPT * 1000):
            raise KernelSplat(f"touching a BAR hangs: {process_state(child)}", oracle="hang")
        _, status = os.waitpid(child, 0)
    finally:
        os.close(end)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
