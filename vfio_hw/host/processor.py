"""A processor that QEMU pulls out of this guest."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vfio_hw.errors import KernelSplat, Unsupported
from vfio_hw.host import cpus
from vfio_hw.host.cpus import CPUS
from vfio_hw.host.hypervisor import Hypervisor
from vfio_hw.host.sysfs import attribute

# Seconds.
_DEADLINE, _POLL = 20.0, 0.01
# Its place in QEMU's list tells that it is there.
_THERE = "qom-path"


class Processor:
    """A processor of this guest.

    Source: QEMU QMP Reference Manual, query-hotpluggable-cpus and device_del.

    :param number: as the kernel counts CPUs.
    :param place: what QEMU says of it.
    """

    def __init__(self, qemu: Hypervisor, number: int, place: dict[str, Any]) -> None:
        self._qemu, self.number, self._place = qemu, number, place

    @property
    def there(self) -> bool:
        """QEMU has it."""
        return _THERE in self._found()

    def pull(self) -> None:
        """The kernel gives it up, and it is gone.

        :raises KernelSplat: not so within 20 s.
        """
        self._qemu.ask("device_del", id=self._found()[_THERE])
        _until(lambda: not self._directory.exists(), f"CPU {self.number} was to go and is there")
        _until(lambda: not self.there, f"CPU {self.number} has gone, and QEMU still has it")

    @property
    def _directory(self) -> Path:
        return CPUS / f"cpu{self.number}"

    def _found(self) -> dict[str, Any]:
        places = self._qemu.ask("query-hotpluggable-cpus").value
        return next(each for each in places if each["props"] == self._place["props"])


def processor(qemu: Hypervisor) -> Processor:
    """One that can be pulled: the last that we may use.

    QEMU can not be relied on to plug it in again: end the test by a reset of the machine.

    :raises Unsupported: this machine, or its kernel, can do without none, or QEMU emulates it:
        seen with 7.2, it then dies of a processor that is pulled out, two times of three.
    """
    if not qemu.ask("query-kvm").value["enabled"]:
        raise Unsupported("a QEMU that emulates may die of a processor that goes: this needs KVM")
    number = cpus.removable()
    core = attribute(CPUS / f"cpu{number}" / "topology" / "core_id")
    for place in qemu.ask("query-hotpluggable-cpus").value:
        if _THERE in place and str(place["props"].get("core-id")) == core:
            return Processor(qemu, number, place)
    raise Unsupported(f"QEMU has no processor that is CPU {number}")


def _until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + _DEADLINE
    while not holds():
        if time.monotonic() > end:
            raise KernelSplat(f"{what} after {_DEADLINE:g} s: see the kernel log", oracle="hang")
        time.sleep(_POLL)
