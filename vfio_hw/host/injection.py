"""Allocations and copies that the kernel makes fail on demand: the Nth of one task.

Source: Documentation/fault-injection/fault-injection.rst, /proc/<pid>/task/<tid>/fail-nth.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from vfio_hw.errors import Unsupported
from vfio_hw.host.sysfs import write

#: Of the task that opens it.
FAIL_NTH = Path("/proc/thread-self/fail-nth")
_DEBUGFS = Path("/sys/kernel/debug")

# By default what may sleep is spared, which is nearly everything; and each failure prints a trace.
SETTINGS = {
    _DEBUGFS / name: value
    for name, value in (
        ("failslab/ignore-gfp-wait", "N"),
        ("failslab/verbose", "0"),
        ("fail_page_alloc/ignore-gfp-wait", "N"),
        ("fail_page_alloc/ignore-gfp-highmem", "N"),
        ("fail_page_alloc/min-order", "0"),
        ("fail_page_alloc/verbose", "0"),
        ("fail_usercopy/verbose", "0"),
    )
}


@contextlib.contextmanager
def injectable() -> Iterator[None]:
    """Inside, allocations of every kind, and copies from and to user space, can be made to fail.

    Nothing fails by itself: who writes N to :data:`FAIL_NTH` lets its own Nth fail.

    :raises Unsupported: this kernel can not do that.
    """
    if not FAIL_NTH.exists():
        raise Unsupported(
            f"this kernel has no {FAIL_NTH}: use one with CONFIG_FAULT_INJECTION (latest-debug)",
            option="CONFIG_FAULT_INJECTION",
        )
    if os.geteuid() != 0:
        raise Unsupported(f"{_DEBUGFS} is not for user {os.geteuid()}: run it as root")
    before: list[tuple[Path, str]] = []
    try:
        for path, value in SETTINGS.items():
            if not path.exists():
                raise Unsupported(
                    f"there is no {path}: use a kernel with fault injection of all kinds and"
                    " debugfs (latest-debug)",
                    option=_OPTIONS[path.parent.name],
                )
            before.append((path, path.read_text().strip()))
            write(path, value)
        yield
    finally:
        for path, value in before:
            write(path, value)


_OPTIONS = {
    "failslab": "CONFIG_FAILSLAB",
    "fail_page_alloc": "CONFIG_FAIL_PAGE_ALLOC",
    "fail_usercopy": "CONFIG_FAULT_INJECTION_USERCOPY",
}
