"""A guest of the harness's own tests, for which QEMU's crashes are no verdict."""

from pathlib import Path
from typing import Any

from vfio_hw.vm import machine
from vfio_hw.vm.machine import Event, Guest, GuestRun

_TIMES = 3


def run(guest: Guest, out: Path, **options: Any) -> GuestRun:
    """As :func:`vfio_hw.vm.machine.run`; anew when QEMU crashed before anything ran in the guest.

    QEMU 7.2 does so in one boot of some thousands, while the kernel looks for its PCI devices.
    """
    told = options.pop("on_event", lambda event: None)
    for _ in range(_TIMES):
        events: list[Event] = []

        def heard(event: Event, events: list[Event] = events) -> None:
            events.append(event)
            told(event)

        ended = machine.run(guest, out, on_event=heard, **options)
        # By a signal; whether a kernel had spoken is no matter.
        if events or not ended.text.startswith("QEMU ended with status -"):
            break
    return ended
