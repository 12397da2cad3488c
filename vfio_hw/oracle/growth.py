"""What is lost each time something is done: too little to show once, plain after many times."""

import re
import time
from collections.abc import Callable, Hashable
from pathlib import Path

from vfio_hw.errors import KernelSplat
from vfio_hw.host import kconfig
from vfio_hw.oracle.look import machine
from vfio_hw.oracle.memory import available_bytes, shrink, slab_objects

_DROP_CACHES, _STAT_REFRESH = (Path("/proc/sys/vm", n) for n in ("drop_caches", "stat_refresh"))
_MEMINFO, _VMSTAT = Path("/proc/meminfo"), Path("/proc/vmstat")

_WARM_UP = 3
_BATCHES = 3
# Where a cycle takes long, fewer must do: seconds for a batch, and the fewest cycles in one.
_BATCH_SECONDS, _FEWEST = 5.0, 5
# Seconds for what the kernel frees later: kvfree_rcu() collects for 5 s before it does.
_GRACE, _PAUSE = 6.0, 0.25

_KB = re.compile(r"^(\w+): +(\d+) kB$", re.MULTILINE)
_MEMORY = {
    "VmallocUsed": "bytes of vmalloc memory",
    "Percpu": "bytes of memory for each processor",
}

_SLAB = "objects in "
_MIB = 1 << 20
# What may come and go by itself between two looks, whatever was done.
_NOISE = {
    "bytes of memory in use": 12 * _MIB,
    "bytes of vmalloc memory": _MIB,
    "bytes of slabs and large allocations": _MIB,
    "bytes of memory for each processor": _MIB // 4,
}
# Addresses that were given back are kept for a while, to be forgotten many at once; and each
# processor keeps nodes for the mappings of processes, which come back when RCU lets them.
_LAZY = {"vmap_area", "maple_node"}
# Counters of pages that are exact when all processors have told theirs. Those of other page tables
# are not among them: the kernel's own ones grow with the addresses above, and are never freed.
_EXACT = ("nr_iommu_pages", "nr_sec_page_table_pages")


def leaves_nothing(cycle: Callable[[], Hashable], cycles: int) -> None:
    """Nothing grows with the cycles, and each returns the same; see :func:`growth`.

    :raises KernelSplat: something grows, or not all cycles were answered alike.
    """
    found, answers = growth(cycle, cycles)
    if found:
        raise KernelSplat("; ".join(found), oracle="leaks")
    if len(answers) > 1:
        listed = sorted(map(str, answers))
        raise KernelSplat(f"not every cycle got the same: {listed}", oracle="answer")


def growth(cycle: Callable[[], Hashable], cycles: int) -> tuple[list[str], set[Hashable]]:
    """Repeat ``cycle``: a sentence for each thing of which half the cycles lost one, or more.

    What is lost must be lost again in every batch of cycles: so a leak is found after several
    batches, and a healthy kernel is done after the first. Also returns the different values that
    ``cycle`` returned.

    Objects are counted one by one, unless the kernel has KASAN. Amounts in bytes have some noise:
    they show what is lost only when a batch loses MiBs of it.

    :param cycles: the most there are in a batch.
    """
    began = time.monotonic()
    answers = {cycle() for _ in range(_WARM_UP)}
    each = (time.monotonic() - began) / _WARM_UP
    cycles = min(cycles, max(_FEWEST, int(_BATCH_SECONDS / each)))
    suspects: dict[str, list[int]] | None = None
    before = _amounts()
    for _ in range(_BATCHES):
        answers |= {cycle() for _ in range(cycles)}
        grown, after = _settled(before, cycles)
        known = {what: [] for what in grown} if suspects is None else suspects
        suspects = {what: [*known[what], more] for what, more in grown.items() if what in known}
        if not suspects:
            break
        before = after
    return [
        f"{what}: {', '.join(f'{more:+}' for more in batches)} in batches of {cycles} cycles"
        for what, batches in (suspects or {}).items()
    ], answers


def _settled(before: dict[str, int], cycles: int) -> tuple[dict[str, int], dict[str, int]]:
    """What has grown, and the amounts now, as soon as nothing has or the time of grace is over."""
    end = time.monotonic() + _GRACE
    while True:
        after = _amounts()
        grown = {
            what: now - before.get(what, 0)
            for what, now in after.items()
            if now - before.get(what, 0) >= max(cycles // 2, _NOISE.get(what, 1))
        }
        if not grown or time.monotonic() > end:
            return grown, after
        # What kfree_rcu() got last stays with its cache until that is shrunk, and then until RCU
        # lets it go: not by the time at which the same shrinking is followed by the count.
        for what in grown:
            if what.startswith(_SLAB):
                shrink(what.removeprefix(_SLAB))
        time.sleep(_PAUSE)


def _amounts() -> dict[str, int]:
    # Names that were looked up keep what they named: entries of sysfs are freed after these.
    _DROP_CACHES.write_text("2")
    _STAT_REFRESH.read_bytes()
    stat = {name: int(count) for name, count in map(str.split, _lines(_VMSTAT))}
    found = {f"pages ({name})": stat[name] for name in _EXACT if name in stat}
    found |= machine.pinned_pages("")
    memory = {name: int(kb) * 1024 for name, kb in _KB.findall(_MEMINFO.read_text())}
    found |= {what: memory[name] for name, what in _MEMORY.items() if name in memory}
    # KASAN keeps much of what was freed, and takes seconds to let it go; kmemleak looks there.
    if "CONFIG_KASAN" not in (kconfig.options() or ()):
        slabs = slab_objects()
        found |= {_SLAB + name: slabs[name] for name in slabs.keys() - _LAZY}
        found["bytes of slabs and large allocations"] = memory["SUnreclaim"]
        found["bytes of memory in use"] = -available_bytes()
    return found | machine.eventfd_contexts("") | machine.open_files("")


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()
