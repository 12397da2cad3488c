"""A CPU that goes and comes, once or always. Source: Documentation/core-api/cpu_hotplug.rst."""

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from vfio_hw.errors import HarnessError, KernelSplat, Unsupported
from vfio_hw.host import sysfs
from vfio_hw.host.blocking import write_with_deadline
from vfio_hw.host.process import process_state

CPUS = Path("/sys/devices/system/cpu")
_PATIENCE = 20.0


def removable(cpus: Path = CPUS) -> int:
    """The last CPU that we may use, which can be taken away.

    :raises Unsupported: it can not, or there is no other.
    """
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2 or not _switch(usable[-1], cpus).exists():
        raise Unsupported(f"no CPU can be taken away: {_switch(usable[-1], cpus)} is not there")
    return usable[-1]


@contextlib.contextmanager
def without(cpu: int, cpus: Path = CPUS) -> Iterator[None]:
    """The CPU is not there inside, and is there after.

    :raises KernelRefused: with its errno.
    :raises KernelSplat: it does not go, or come, in time.
    """
    write_with_deadline(_switch(cpu, cpus), "0", _PATIENCE)
    try:
        yield
    finally:
        if sysfs.attribute(_switch(cpu, cpus)) != "1":
            write_with_deadline(_switch(cpu, cpus), "1", _PATIENCE)


@contextlib.contextmanager
def coming_and_going(cpu: int, cpus: Path = CPUS) -> Iterator[None]:
    """Inside, it is taken away and comes back without end; after, it is there.

    A process of its own does that. When this one is killed it ends, and the CPU comes back; what
    is left when both are, the journal says.

    :raises Unsupported: it can not be taken away.
    :raises HarnessError: it was refused every time.
    :raises KernelSplat: it did not come back.
    """
    switch = _switch(cpu, cpus)
    if not switch.exists():
        raise Unsupported(f"CPU {cpu} can not be taken away: {switch} is not there")
    told = sysfs.about_to_write(switch, "0")
    end, ours = os.pipe()
    child = os.fork()
    if not child:
        _go_on(switch, end, ours)
    os.close(end)
    try:
        yield
    finally:
        os.close(ours)
        try:
            _ended(child, cpu)
        finally:
            if sysfs.attribute(switch) != "1":
                sysfs.write(switch, "1")
            sysfs.has_written(told, made=True)


def _switch(cpu: int, cpus: Path) -> Path:
    return cpus / f"cpu{cpu}" / "online"


def _ended(child: int, cpu: int) -> None:
    descriptor = os.pidfd_open(child)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(_PATIENCE * 1000):
            raise KernelSplat(
                f"CPU {cpu} did not come back within {_PATIENCE:g} s: {process_state(child)}",
                oracle="hang",
            )
    finally:
        os.close(descriptor)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        why = os.strerror(status) if status > 0 else f"who did that died of signal {-status}"
        raise HarnessError(f"CPU {cpu} did not go and come back ({why}): see the kernel log")


def _go_on(switch: Path, end: int, ours: int) -> NoReturn:
    """The whole life of the child; its status is an errno when the CPU never went."""
    status = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        # What the tests open must be closed when they close it; of the pipe the other end, too.
        os.closerange(0, end)
        os.closerange(end + 1, os.sysconf("SC_OPEN_MAX"))
        parent, status = os.getppid(), _cycle(switch)
        while os.getppid() == parent and not select.select([end], [], [], 0)[0]:
            status = min(status, _cycle(switch))
    finally:
        os._exit(status)


def _cycle(switch: Path) -> int:
    """Takes it away and brings it back; an errno."""
    refused = 0
    for word in (b"0", b"1"):
        try:
            descriptor = os.open(switch, os.O_WRONLY)
            try:
                os.write(descriptor, word)
            finally:
                os.close(descriptor)
        except OSError as error:
            refused = refused or error.errno or 1
    return refused
