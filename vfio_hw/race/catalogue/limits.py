"""Limits as hindrances: a call has no descriptor, file, address space, or memory left to it."""

import contextlib
import os
import resource
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from vfio_hw.host.cgroup import Groups, without_memory
from vfio_hw.host.sysfs import write
from vfio_hw.race import program
from vfio_hw.race.catalogue.entry import KINDS, MEDIATED, PCI
from vfio_hw.race.catalogue.region import MAPPABLE
from vfio_hw.race.program import Memory, Slot, Step, close, openat, syscall

# linux/capability.h
_VERSION = 0x20080522
_CAP_IPC_LOCK, _CAP_SYS_ADMIN = 14, 21
_FILE_MAX = Path("/proc/sys/fs/file-max")
# Of the process that opens it.
_SCORE = Path("/proc/self/oom_score_adj")


@dataclass(frozen=True)
class Way:
    """Calls with which a limit is reached, and with which it is left."""

    into: tuple[Step, ...] = ()
    back: tuple[Step, ...] = ()


@contextlib.contextmanager
def _as_it_is() -> Iterator[Way]:
    yield Way()


@contextlib.contextmanager
def _no_more_files() -> Iterator[Way]:
    before = _FILE_MAX.read_text().strip()
    with contextlib.ExitStack() as stack:
        # The kernel asks an approximation first, in which each processor's last files are missing
        # (lib/percpu_counter.c, percpu_counter_batch): more are open than can be missing.
        processors = os.cpu_count() or 1
        for _ in range(processors * max(32, 2 * processors)):
            stack.enter_context(Path(os.devnull).open("rb"))
        # Fewer than are open; of sockets there may be twice as many, and the engine needs some.
        write(_FILE_MAX, "24")
        stack.callback(write, _FILE_MAX, before)
        yield Way()


@contextlib.contextmanager
def _no_more_memory() -> Iterator[Way]:
    with without_memory() as groups:
        yield _through(groups)


def _through(groups: Groups) -> Way:
    """Inside, not even a file can be opened: what takes the way back has to be open before."""
    score, entrance, exit_ = Slot("score"), Slot("entrance"), Slot("exit")
    return Way(
        (
            openat(_SCORE, os.O_WRONLY, into=score),
            # Else it is killed, for it is the only one in the group.
            program.write(score, b"-1000"),
            openat(groups.exit, os.O_WRONLY, into=exit_),
            openat(groups.entrance, os.O_WRONLY, into=entrance),
            program.write(entrance, b"0"),
        ),
        (
            program.write(exit_, b"0"),
            program.write(score, _SCORE.read_bytes().strip()),
            *(close(slot) for slot in (score, entrance, exit_)),
        ),
    )


@dataclass(frozen=True)
class Limit:
    """A resource of which there is none left to the calls between two steps.

    :param limit: a RLIMIT_*, the soft one of which is 0; None: another limit.
    :param answers: what a call may say of it.
    :param spared: a capability with which one would be spared, and is without meanwhile.
    :param around: what else has to be so, of the machine; the way to it from there.
    :param kinds: the devices with an operation that needs some of it: ``met_by``.
    """

    name: str
    answers: frozenset[str]
    limit: int | None = None
    spared: int | None = None
    around: Callable[[], "contextlib.AbstractContextManager[Way]"] = field(default=_as_it_is)
    kinds: tuple[str, ...] = KINDS
    met_by: str = "open_cdev"

    @property
    def of_the_machine(self) -> bool:
        """Whether all that runs on the machine meets it too."""
        return self.around is not _as_it_is

    def by(self, way: Way) -> "Reached":
        """The hindrance, for the thread or its process, inside of ``around``."""
        into = (*self._limited(True), *self._capable(False))
        back = (*self._capable(True), *self._limited(False))
        return Reached((*into, *way.into), (*way.back, *back))

    def _limited(self, reached: bool) -> tuple[Step, ...]:
        if self.limit is None:
            return ()
        soft, hard = resource.getrlimit(self.limit)
        pair = struct.pack("@2q", 0 if reached else soft, hard)
        return (syscall("prlimit64", 0, self.limit, Memory(pair), 0),)

    def _capable(self, able: bool) -> tuple[Step, ...]:
        if self.spared is None:
            return ()
        permitted = _permitted()
        effective = permitted if able else permitted & ~(1 << self.spared)
        words = [
            part >> shift & 0xFFFF_FFFF for shift in (0, 32) for part in (effective, permitted, 0)
        ]
        header = Memory(struct.pack("@Ii", _VERSION, 0))
        return (syscall("capset", header, Memory(struct.pack("@6I", *words))),)


@dataclass(frozen=True)
class Reached:
    """A limit as it is put in the way of calls."""

    into: tuple[Step, ...]
    back: tuple[Step, ...]

    def before(self) -> tuple[Step, ...]:
        """The limit is reached."""
        return self.into

    def after(self) -> tuple[Step, ...]:
        """It is as it was."""
        return self.back


@cache
def _permitted() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("CapPrm:")).split()[1], 16)


#: By their names.
LIMITS: dict[str, Limit] = {
    limit.name: limit
    for limit in (
        Limit("no_descriptor", frozenset({"EMFILE"}), resource.RLIMIT_NOFILE),
        # A mediated device of the samples has nothing pinned unless it does DMA.
        Limit(
            "no_locked_memory",
            frozenset({"ENOMEM"}),
            resource.RLIMIT_MEMLOCK,
            _CAP_IPC_LOCK,
            kinds=PCI,
            met_by="VFIO_IOMMU_MAP_DMA",
        ),
        Limit(
            "no_address_space",
            frozenset({"ENOMEM"}),
            resource.RLIMIT_AS,
            kinds=MAPPABLE,
            met_by="mmap_BAR",
        ),
        Limit("no_file", frozenset({"ENFILE"}), None, _CAP_SYS_ADMIN, _no_more_files),
        # A copy says EFAULT, where the memory of the one who calls has no page table yet.
        Limit(
            "no_memory",
            frozenset({"ENOMEM", "EFAULT"}),
            around=_no_more_memory,
            # One for each driver: of everything that fails the kernel prints a page.
            kinds=(*MEDIATED, "e1000e"),
            met_by="VFIO_GROUP_GET_DEVICE_FD",
        ),
    )
}
