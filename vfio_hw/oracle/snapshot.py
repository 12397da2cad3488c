"""One look at everything that must be after a test as it was before.

It is taken after every test, so it lists directories, reads small files, and makes a few eventfds,
whose numbers tell whether one is left.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

from vfio_hw.oracle.children import descendants
from vfio_hw.oracle.look import kernel, machine, mdev, pci, process


@dataclass(frozen=True)
class Snapshot:
    """How things are.

    ``counters`` must be equal: one too few was taken from somebody else. They are compared when
    both snapshots have them (a module may be loaded in between), and so are ``entries``, the names
    in a place. ``amounts`` must not grow; one that is missing is 0. ``totals`` are amounts that
    also grow when one of the others does, and only tell what those leave unseen.
    """

    counters: dict[str, int] = field(default_factory=dict)
    entries: dict[str, frozenset[str]] = field(default_factory=dict)
    amounts: dict[str, int] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)


def taken(root: Path = Path("/"), *, alone: bool = False) -> Snapshot:
    """How things are now.

    :param alone: nobody else uses this machine, so that what it holds as a whole is ours.
    """
    base = str(root).rstrip("/")
    family = descendants()
    functions = pci.functions(base)
    idle = [function for function in functions if function.idle]
    return Snapshot(
        counters=kernel.references(base)
        | kernel.buffers(base)
        | mdev.instances(base)
        | pci.counts(idle),
        entries=kernel.places(base)
        | kernel.interrupt_handlers(base)
        | mdev.devices(base)
        | pci.drivers(functions)
        | ({} if family else pci.overrides(functions)),
        amounts=process.descriptors(base)
        | process.memory(base)
        | kernel.claimed_regions(base)
        | pci.faults(idle)
        | (machine.processes(base, {os.getpid(), *family}) if alone else {}),
        totals=_totals(base) if alone else {},
    )


def _totals(base: str) -> dict[str, int]:
    return machine.open_files(base) | machine.eventfd_contexts(base) | machine.pinned_pages(base)
