"""Timers that should have gone off long ago: an emulated processor's can stop."""

import os
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from vfio_hw.host.questions import answers

TIMERS = Path("/proc/timer_list")
STOPPED = "has not gone off although the processor runs"
"""What a line says of a timer that stopped."""

# Seconds: no load of the machine makes a timer so late.
_LATE = 3.0
_PATIENCE, _LONGEST = 2.0, 8.0
_NOW = re.compile(r"^now at (\d+) nsecs$", re.MULTILINE)
_PROCESSOR = re.compile(
    r"^cpu: (\d+)\n.*?^  \.expires_next +: (\d+) nsecs$", re.MULTILINE | re.DOTALL
)

Ask = Callable[[Callable[[], str]], str]


def late(text: str) -> dict[int, float]:
    """Of each processor whose next timer should have gone off seconds ago: how many seconds.

    Source: kernel/time/timer_list.c.
    """
    now = _NOW.search(text)
    if now is None:
        return {}
    found = {int(cpu): (int(now[1]) - int(at)) / 1e9 for cpu, at in _PROCESSOR.findall(text)}
    return {cpu: seconds for cpu, seconds in found.items() if seconds > _LATE}


def stopped(ask: Ask, listed: str | None = None) -> list[str]:
    """A line for each processor that runs what it is given, and whose timer does not go off.

    One that runs nothing, since the kernel spins there, is not among them. To be asked first: a
    processor that is given something to do sets its timer anew.

    :param ask: has a process of its own answer, and gives up on it after a while.
    :param listed: what :data:`TIMERS` said, when it was read already.
    """
    return [
        f"the timer of processor {cpu} {STOPPED}: it is {seconds:.0f} s late"
        for cpu, seconds in late(ask(TIMERS.read_text) if listed is None else listed).items()
        if ask(partial(_run_on, cpu)) == _RAN
    ]


def stopped_here() -> list[str]:
    """The same, of timers that this process lists itself; nothing for whom that is denied.

    A process that is forked to list them may be given to the very processor that sleeps.
    """
    try:
        listed = TIMERS.read_text()
    except OSError:
        return []
    end = time.monotonic() + _LONGEST
    return stopped(lambda asked: answers([asked], patience=_PATIENCE, end=end)[0], listed)


_RAN = "ran"


def _run_on(cpu: int) -> str:
    os.sched_setaffinity(0, {cpu})
    return _RAN
