"""Whether an emulated machine stands still because no timer wakes its processors any more."""

import contextlib
import re
import select
import time

from vfio_hw.vm.qmp import Qmp

_SAMPLES, _BETWEEN, _PATIENCE = 3, 0.5, 5.0
_HALTED = re.compile(r"HLT=([01])")
_COUNT = re.compile(r"current_count = (\d+)")


def stalled(monitor: Qmp) -> bool:
    """All processors are halted, and none of them has a timer that still runs.

    A kernel that has nothing to do halts them too, but never without a timer on one of them. So
    whoever was to speak in such a guest can not, and it says nothing of the kernel.

    Source: QEMU's monitor, ``info registers`` and ``info lapic``. False where it does not answer.
    """
    for sample in range(_SAMPLES):
        if sample:
            time.sleep(_BETWEEN)
        halted = _HALTED.findall(_said(monitor, "info registers -a"))
        if not halted or "0" in halted:
            return False
        for processor in range(len(halted)):
            count = _COUNT.search(_said(monitor, f"info lapic {processor}"))
            if not count or int(count[1]):
                return False
    return True


def _said(monitor: Qmp, line: str) -> str:
    answers: list[str] = []
    monitor.ask(
        "human-monitor-command",
        {"command-line": line},
        lambda answer: answers.append(str(answer.get("return", ""))),
    )
    end = time.monotonic() + _PATIENCE
    with contextlib.suppress(EOFError):
        while not answers and select.select([monitor], [], [], max(0.0, end - time.monotonic()))[0]:
            monitor.heard()
    return answers[0] if answers else ""
