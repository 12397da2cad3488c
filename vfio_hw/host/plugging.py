"""Devices that QEMU plugs into a slot of this guest, and pulls out again."""

import time
from collections.abc import Callable

from vfio_hw.errors import KernelSplat
from vfio_hw.host.hypervisor import Hypervisor
from vfio_hw.host.inventory import functions_of_kind
from vfio_hw.host.pci import PciFunction

# Seconds.
_DEADLINE, _POLL = 10.0, 0.01
_MUST_SAY = {"nvme": {"serial": "plugged"}}


class Plugged:
    """A device in a slot, and its only function.

    Source: QEMU QMP Reference Manual, device_add and device_del.

    :param kind: of ``KINDS`` in pci.py, which is QEMU's name of it too.
    :param slot: the id of the port in fixtures/machines.
    :raises KernelSplat: the function did not appear.
    """

    ID = "plugged"

    def __init__(self, qemu: Hypervisor, kind: str, slot: str = "empty") -> None:
        self._qemu = qemu
        before = {each.address for each in functions_of_kind(kind)}
        qemu.ask("device_add", driver=kind, id=self.ID, bus=slot, **_MUST_SAY.get(kind, {}))

        def new() -> list[PciFunction]:
            return [each for each in functions_of_kind(kind) if each.address not in before]

        _until(lambda: bool(new()), f"a {kind} that was plugged in does not appear")
        [self.function] = new()

    @property
    def there(self) -> bool:
        """QEMU still has it: the guest did not give it up."""
        names = self._qemu.ask("qom-list", path="/machine/peripheral").value
        return any(each["name"] == self.ID for each in names)

    def pull(self) -> None:
        """Ask the guest's kernel to give the device up; it is gone when the kernel has done so."""
        self._qemu.ask("device_del", id=self.ID)

    def must_go(self) -> None:
        """The function has left the bus, and QEMU the device, within 10 s.

        :raises KernelSplat: not so.
        """
        _until(lambda: not self.function.exists, f"{self.function} was given up and is still there")
        _until(lambda: not self.there, f"{self.function} left the bus and not its slot")


def _until(holds: Callable[[], bool], what: str) -> None:
    """It holds within 10 s."""
    end = time.monotonic() + _DEADLINE
    while not holds():
        if time.monotonic() > end:
            raise KernelSplat(f"{what} after {_DEADLINE:g} s: see the kernel log", oracle="hang")
        time.sleep(_POLL)
