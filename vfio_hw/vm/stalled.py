"""Whether it is QEMU that keeps a guest silent: no timer wakes its processors, or it hangs too."""

import re
import time
from typing import TextIO

from vfio_hw.errors import MachineLost
from vfio_hw.vm.qmp import Qmp

_SAMPLES, _BETWEEN, _PATIENCE = 3, 0.5, 10.0
_HALTED = re.compile(r"HLT=([01])")
_COUNT = re.compile(r"current_count = (\d+)")


def why_stalled(monitor: Qmp, log: TextIO, *, emulated: bool) -> str:
    """Why nobody in this guest could speak; empty when QEMU lets them.

    All processors are halted, and none of them has a timer that still runs: a kernel that has
    nothing to do halts them too, but never without a timer on one of them. Or QEMU itself answers
    no more. Either says nothing of the kernel.

    Source: QEMU's monitor, ``info registers`` and ``info lapic``.

    :param log: gets all that the monitor says.
    :param emulated: whether its processors are; of others KVM has the timers, and QEMU knows none.
    """
    try:
        for sample in range(_SAMPLES):
            if sample:
                time.sleep(_BETWEEN)
            if not _stands_still(monitor, log) or not emulated:
                return ""
    except MachineLost as error:
        log.write(f"{error}\n")
        return f"{error}: the emulator's fault"
    return "no processor of the guest had a timer left: the emulator's fault"


def _stands_still(monitor: Qmp, log: TextIO) -> bool:
    halted = _HALTED.findall(_said(monitor, "info registers -a", log))
    counts = [
        _COUNT.search(_said(monitor, f"info lapic {processor}", log))
        for processor in range(len(halted))
    ]
    return (
        bool(halted)
        and "0" not in halted
        and all(count is not None and count[1] == "0" for count in counts)
    )


def _said(monitor: Qmp, line: str, log: TextIO) -> str:
    words = {"command-line": line}
    said = str(monitor.answer("human-monitor-command", words, deadline=_PATIENCE)["return"])
    log.write(f"(qemu) {line}\n{said}\n")
    return said
