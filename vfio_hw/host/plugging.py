"""Devices that QEMU plugs into a slot of this guest, and pulls out again."""

import contextlib
import itertools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from vfio_hw.errors import HarnessError, KernelSplat
from vfio_hw.host.hypervisor import Hypervisor
from vfio_hw.host.inventory import functions_of_kind
from vfio_hw.host.pci import PciFunction

# Seconds.
_DEADLINE, _POLL = 10.0, 0.01
_NUMBERS = itertools.count(1)
# Registers of the port's PCI Express capability.  Source: linux/pci_regs.h.
_CAPABILITIES, _PCI_EXPRESS, _SLOT_CONTROL = 0x34, 0x10, 0x18
# PCI_EXP_SLTCTL_HPIE; _PWR_IND_OFF and _PWR_OFF.
_INTERRUPTS, _OFF = 0x0020, 0x0700
_MUST_SAY = {"nvme": {"serial": "plugged"}}


class Plugged:
    """A device in a slot, and its only function; a context manager that leaves the slot empty.

    Source: QEMU QMP Reference Manual, device_add and device_del.

    :param kind: of ``KINDS`` in pci.py, which is QEMU's name of it too.
    :param slot: the id of the port in fixtures/machines.
    """

    function: PciFunction  #: once it is plugged in

    def __init__(self, qemu: Hypervisor, kind: str, slot: str = "empty") -> None:
        self._qemu, self._kind, self._slot = qemu, kind, slot
        self._torn_from: _Port | None = None
        # One that a test could not get rid of must not be taken for the next.
        self._id = f"plugged-{next(_NUMBERS)}"

    def __enter__(self) -> Self:
        self.plug()
        return self

    def plug(self) -> None:
        """Plug it in, at first or when it is gone.

        :raises KernelSplat: the function did not appear.
        """
        before = {each.address for each in functions_of_kind(self._kind)}

        def new() -> list[PciFunction]:
            there = functions_of_kind(self._kind)
            return [each for each in there if each.address not in before]

        must = _MUST_SAY.get(self._kind, {})
        try:
            self._qemu.ask("device_add", driver=self._kind, id=self._id, bus=self._slot, **must)
            _until(lambda: bool(new()), f"a {self._kind} that was plugged in does not appear")
            [self.function] = new()
        except BaseException:
            # Even one whose answer was lost: QEMU may have it.
            with contextlib.suppress(HarnessError):
                self.pull()
            raise

    def __exit__(self, *raised: object) -> None:
        if self.there:
            # The kernel may have been asked before, and QEMU asks it once only.
            with contextlib.suppress(HarnessError):
                self.pull()
        self.must_go()

    @property
    def there(self) -> bool:
        """QEMU still has it: the guest did not give it up."""
        names = self._qemu.ask("qom-list", path="/machine/peripheral").value
        return any(each["name"] == self._id for each in names)

    def pull(self) -> None:
        """Ask the guest's kernel to give the device up; it is gone when the kernel has done so."""
        self._qemu.ask("device_del", id=self._id)

    def pulling(self, number: int) -> bytes:
        """What :meth:`pull` writes, for another process to write it to the same port.

        :param number: by which the answer is known: :meth:`Hypervisor.answered`.
        """
        arguments = {"id": self._id}
        request = {"id": number, "execute": "device_del", "arguments": arguments}
        return json.dumps(request).encode() + b"\n"

    def tear_out(self) -> None:
        """Let the device be gone at once, before anybody in this guest has given it up.

        QEMU takes a device out of a slot that is switched off, however that came about. Here the
        kernel does not hear of it before the slot has its power back, and finds it empty then.

        :raises HarnessError: QEMU still has it.
        """
        self._torn_from = port = _Port(self.function.path.resolve().parent)
        control = port.control()
        port.set_control(control & ~_INTERRUPTS | _OFF)
        port.set_control(control)
        self._qemu.wait_for("DEVICE_DELETED", deadline=_DEADLINE, device=self._id)

    def must_go(self) -> None:
        """The function has left the bus, and QEMU the device, within 10 s.

        :raises KernelSplat: not so.
        """
        _until(lambda: not self.function.exists, f"{self.function} was given up and is still there")
        _until(lambda: not self.there, f"{self.function} left the bus and not its slot")
        if port := self._torn_from:
            # What is plugged in before the kernel has done with the slot would go with it.
            off = f"the slot that {self.function} was torn out of is not switched off"
            _until(lambda: port.control() & _OFF == _OFF, off)


class _Port:
    """A port with a slot: what is switched on there."""

    def __init__(self, path: Path) -> None:
        self._config = path / "config"
        space = self._config.read_bytes()
        at = space[_CAPABILITIES]
        while at and space[at] != _PCI_EXPRESS:
            at = space[at + 1]
        self._at = at + _SLOT_CONTROL

    def control(self) -> int:
        """The register Slot Control."""
        with self._config.open("rb", buffering=0) as config:
            return int.from_bytes(os.pread(config.fileno(), 2, self._at), "little")

    def set_control(self, value: int) -> None:
        """Write it."""
        with self._config.open("r+b", buffering=0) as config:
            os.pwrite(config.fileno(), value.to_bytes(2, "little"), self._at)


def _until(holds: Callable[[], bool], what: str) -> None:
    """It holds within 10 s."""
    end = time.monotonic() + _DEADLINE
    while not holds():
        if time.monotonic() > end:
            raise KernelSplat(f"{what} after {_DEADLINE:g} s: see the kernel log", oracle="hang")
        time.sleep(_POLL)
