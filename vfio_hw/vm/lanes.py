"""Several guests at a time, each with a supervisor of its own and its own part of the tests."""

import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.vm.losses import Losses, Stopped, Supervised
from vfio_hw.vm.supervisor import Supervisor

_UNITS = {"": 20, "K": 10, "M": 20, "G": 30, "T": 40}
# Beside its memory a guest has QEMU's own, and what QEMU translates its code to.
_OVERHEAD = 1.3


def fitting(cpus: int, memory: str) -> int:
    """How many guests of so many processors and so much memory this machine can run at a time.

    :raises HarnessError: the memory is not a size that QEMU would take.
    """
    found = re.fullmatch(r"(\d+)([KMGT]?)B?", memory, re.IGNORECASE)
    if found is None:
        raise HarnessError(f"a guest can not have {memory} of memory: give a size such as 2G")
    size = int(found[1]) << _UNITS[found[2].upper()]
    by_memory = int(_available() / (size * _OVERHEAD))
    return max(1, min(len(os.sched_getaffinity(0)) // cpus, by_memory))


def _available() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    found = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return int(next(found, "0")) << 10


def side_by_side(supervisors: Sequence[Supervisor], losses: Losses) -> Supervised:
    """Run them all; what they came to together.

    :param losses: what they share.
    :raises Exception: the first that one of them raised; the others are stopped then.
    """
    ended: list[Supervised] = []
    failed: list[BaseException] = []

    def run(supervisor: Supervisor) -> None:
        try:
            ended.append(supervisor.run())
        except Stopped:
            pass
        except BaseException as error:
            failed.append(error)
            losses.stop.set()

    threads = [threading.Thread(target=run, args=[each]) for each in supervisors]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException:
        losses.stop.set()
        for thread in threads:
            thread.join()
        raise
    if failed:
        raise failed[0]
    left = [test for each in ended for test in each.left]
    # One that did not end well tells of all; a lane without a status lost its last guest.
    last = max(ended, key=lambda each: (each.status is None, each.status or 0))
    why = next((each.why for each in ended if each.why), "")
    return Supervised(last.guests, left, last.status, why)
