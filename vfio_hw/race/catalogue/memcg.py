"""A memory cgroup as a hindrance: no memory is left that is charged to the process of a call."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vfio_hw.errors import Unsupported
from vfio_hw.host.sysfs import write
from vfio_hw.race.catalogue.entry import KINDS
from vfio_hw.race.program import Slot, Step, close, openat, write_file
from vfio_hw.race.program import write as written

_ROOT = Path("/sys/fs/cgroup")
_OWN = _ROOT / "vfio-hw"


@dataclass(frozen=True)
class NoChargedMemory:
    """The process is in a cgroup that may have no memory.

    It is spared by the killer that comes then, so that its calls are told instead.
    Source: Documentation/admin-guide/cgroup-v2.rst, memory.max.
    """

    name: str = "no_charged_memory"
    answers: frozenset[str] = frozenset({"ENOMEM"})
    kinds: tuple[str, ...] = KINDS
    met_by: str = "open_cdev"
    _most: Slot = field(default_factory=lambda: Slot("memory.max"))
    _out: Slot = field(default_factory=lambda: Slot("cgroup.procs"))

    @contextlib.contextmanager
    def around(self) -> Iterator[None]:
        """There is such a cgroup, which no process is in.

        :raises Unsupported: there are none for memory.
        """
        controllers, enabled = _ROOT / "cgroup.controllers", _ROOT / "cgroup.subtree_control"
        if not controllers.exists() or "memory" not in controllers.read_text().split():
            raise Unsupported(
                f"{controllers} does not name memory: mount cgroup2 on {_ROOT}, of a kernel with"
                " CONFIG_MEMCG",
                option="CONFIG_MEMCG",
            )
        before = enabled.read_text().split()
        write(enabled, "+memory")
        try:
            _OWN.mkdir()
            yield
        finally:
            _OWN.rmdir()
            if "memory" not in before:
                write(enabled, "-memory")

    def before(self) -> tuple[Step, ...]:
        """The process enters it, and then it has nothing left."""
        # What is needed to leave it again has to be open by then.
        return (
            *write_file("/proc/self/oom_score_adj", b"-1000"),
            openat(_OWN / "memory.max", os.O_WRONLY, into=self._most),
            openat(_ROOT / "cgroup.procs", os.O_WRONLY, into=self._out),
            *write_file(_OWN / "cgroup.procs", b"0"),
            written(self._most, b"0"),
        )

    def after(self) -> tuple[Step, ...]:
        """It has what it wants, and the process leaves it."""
        return (
            written(self._most, b"max"),
            written(self._out, b"0"),
            close(self._most),
            close(self._out),
        )
