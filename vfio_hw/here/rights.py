"""What an ordinary user needs to drive functions of this machine that root has bound to VFIO."""

import os
import resource
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.host.pci import PciFunction, is_vfio
from vfio_hw.host.taking import with_their_groups
from vfio_hw.oracle.kernel_log import KernelLog
from vfio_hw.vfio.names import cdev_path, group_path

#: Bytes that tests lock at once; less, and the kernel's refusals would be taken for its faults.
LOCKED = 64 << 20
RULES, LIMITS = "scripts/60-vfio-hw.rules", "scripts/vfio-hw-limits.conf"
_NODES = (Path("/dev/vfio/vfio"), Path("/dev/iommu"))


def must_suffice(functions: Sequence[PciFunction]) -> None:
    """This user may drive the functions, whose groups are VFIO's; root may always.

    :raises HarnessError: something is missing; says all of it.
    """
    if os.geteuid() == 0:
        return
    unbound = [function for function in functions if function.driver != "vfio-pci"]
    if unbound or not functions:
        which = " ".join(map(str, unbound)) or "ADDRESS"
        raise HarnessError(
            "hardware tests need root, to take devices from their drivers: use scripts/run, which"
            f" runs them in a guest; or let root do that (vfio-hw bind {which}), and name them"
            " (--device)"
        )
    kept = [
        each
        for each in with_their_groups(functions)
        if each not in functions and each.driver and not is_vfio(each.driver)
    ]
    if kept:
        siblings = ", ".join(f"{each} ({each.driver})" for each in kept)
        raise HarnessError(
            f"a group goes to user space as a whole, and native drivers have {siblings}: let root"
            f" take the whole (vfio-hw bind {' '.join(map(str, functions))})"
        )
    lacking = [*_closed(functions), *_little_memory(), *_no_log()]
    if lacking:
        reasons = "\n".join(f"  {each}" for each in lacking)
        raise HarnessError(f"user {os.geteuid()} can not run tests here:\n{reasons}")


def closed(functions: Iterable[PciFunction]) -> list[Path]:
    """The nodes that this user may not read and write, of these functions and of all."""
    nodes = [path for path in _NODES if path.exists()]
    for function in functions:
        nodes.append(group_path(function.path))
        try:
            nodes.append(cdev_path(function.path))
        except HarnessError:  # the kernel has no such nodes
            continue
    # A group without a node has no users either: then the tests say what they miss.
    return [path for path in nodes if path.exists() and not os.access(path, os.R_OK | os.W_OK)]


def _closed(functions: Iterable[PciFunction]) -> Iterator[str]:
    if found := closed(functions):
        yield (
            f"{', '.join(map(str, found))}: not to be read and written: let root install {RULES},"
            " become a member of its group, and log in anew"
        )


def _little_memory() -> Iterator[str]:
    if (most := lockable()) is not None and most < LOCKED:
        yield (
            f"at most {most >> 10} KiB may be locked, and tests lock {LOCKED >> 10}: let root"
            f" install {LIMITS}, and log in anew"
        )


def _no_log() -> Iterator[str]:
    try:
        KernelLog().close()
    except HarnessError as error:
        yield str(error)


def lockable() -> int | None:
    """Bytes that this user may lock; None: as many as it likes."""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return None if os.geteuid() == 0 or soft == resource.RLIM_INFINITY else soft
