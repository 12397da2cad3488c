"""Limits as hindrances: no descriptor, file, locked memory or address space is left to a call."""

import contextlib
import resource
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from vfio_hw.host.sysfs import write
from vfio_hw.race.catalogue.entry import KINDS, PCI
from vfio_hw.race.catalogue.region import MAPPABLE
from vfio_hw.race.program import Memory, Step, syscall

# linux/capability.h
_VERSION = 0x20080522
_CAP_IPC_LOCK, _CAP_SYS_ADMIN = 14, 21
_FILE_MAX = Path("/proc/sys/fs/file-max")


@contextlib.contextmanager
def _as_it_is() -> Iterator[None]:
    yield


@contextlib.contextmanager
def _no_more_files() -> Iterator[None]:
    before = _FILE_MAX.read_text().strip()
    # Fewer than are open; of sockets there may be twice as many, and the engine needs some.
    write(_FILE_MAX, "24")
    try:
        yield
    finally:
        write(_FILE_MAX, before)


@dataclass(frozen=True)
class Limit:
    """A resource of which there is none left to the calls between two steps.

    :param limit: a RLIMIT_*, the soft one of which is 0; None: another limit.
    :param answers: what a call may say of it.
    :param spared: a capability with which one would be spared, and is without meanwhile.
    :param around: what else has to be so, of the machine.
    :param kinds: the devices with an operation that needs some of it: ``met_by``.
    """

    name: str
    answers: frozenset[str]
    limit: int | None = None
    spared: int | None = None
    around: Callable[[], "contextlib.AbstractContextManager[None]"] = field(default=_as_it_is)
    kinds: tuple[str, ...] = KINDS
    met_by: str = "open_cdev"

    @property
    def of_the_machine(self) -> bool:
        """Whether all that runs on the machine meets it too."""
        return self.around is not _as_it_is

    def before(self) -> tuple[Step, ...]:
        """The limit is reached, for the thread or its process."""
        return (*self._limited(True), *self._capable(False))

    def after(self) -> tuple[Step, ...]:
        """It is as it was."""
        return (*self._capable(True), *self._limited(False))

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
    )
}
