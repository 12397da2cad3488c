"""PCI functions: who drives them, and in which state those are that no real driver has.

A function that its own driver has is that driver's: enabled, mastering the bus and awake as it
likes. One that vfio-pci or nobody has must be idle when no test uses it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from vfio_hw.oracle.look.files import contents, names, number, target

_FUNCTIONS = "/sys/bus/pci/devices"
_BRIDGE = "0x06"  # base class; a bridge serves what is behind it, with or without a driver

# PCI_COMMAND and its bits. Source: include/uapi/linux/pci_regs.h.
_COMMAND = 4
_MEMORY, _MASTER = 0x2, 0x4


@dataclass(frozen=True)
class Function:
    """One function: its address, its directory in sysfs, the driver that has it."""

    name: str
    path: str
    driver: str | None

    @property
    def idle(self) -> bool:
        """No driver of its own has it, and it is no bridge."""
        if self.driver not in (None, "vfio-pci"):
            return False
        return not (contents(f"{self.path}/class") or _BRIDGE).startswith(_BRIDGE)


def functions(root: str) -> list[Function]:
    """Every function there is."""
    found = []
    for name in names(f"{root}{_FUNCTIONS}"):
        path = f"{root}{_FUNCTIONS}/{name}"
        driver = target(f"{path}/driver")
        found.append(Function(name, path, driver.rpartition("/")[2] if driver else None))
    return found


def drivers(among: Sequence[Function]) -> dict[str, frozenset[str]]:
    """Which driver has which function."""
    bound = frozenset(f"{one.name} {one.driver}" for one in among if one.driver)
    return {"PCI functions and their drivers": bound}


def overrides(among: Sequence[Function]) -> dict[str, frozenset[str]]:
    """The functions that only one driver may bind.

    Older kernels (6.12) take the device's lock to read an override: a child of ours that waits in
    an unbind holds it, and then this would wait with it.
    """
    found = ((one.name, contents(f"{one.path}/driver_override")) for one in among)
    return {
        "PCI functions with a driver_override": frozenset(
            f"{name} {driver}" for name, driver in found if driver not in (None, "", "(null)")
        )
    }


def counts(idle: Sequence[Function]) -> dict[str, int]:
    """How often idle functions are enabled and kept awake, and their MSI interrupts.

    The driver is part of the name: what it changes by binding is not compared.
    """
    found = {}
    for one in idle:
        whose = f"{one.name} ({one.driver or 'no driver'})"
        for attribute, what in (
            ("enable", "times enabled"),
            ("power/runtime_usage", "runtime PM usage"),
        ):
            count = number(f"{one.path}/{attribute}")
            if count is not None:
                found[f"{whose}: {what}"] = count
        found[f"{whose}: MSI interrupts"] = len(names(f"{one.path}/msi_irqs"))
    return found


def faults(idle: Sequence[Function]) -> dict[str, int]:
    """What idle functions should not be: bus masters, deaf to memory accesses, awake.

    Firmware may leave any of it so, and binding vfio-pci mends it: only what a test has made so
    counts. Memory decoding that is on says nothing: disabling a function leaves it on.
    """
    found = {}
    for one in idle:
        command = _command(one.path)
        if command is not None:
            found[f"{one.name}: bus master"] = bool(command & _MASTER)
            found[f"{one.name}: memory decoding off"] = not command & _MEMORY
        found[f"{one.name}: awake"] = contents(f"{one.path}/power/runtime_status") == "active"
    return {what: int(so) for what, so in found.items()}


def _command(path: str) -> int | None:
    try:
        descriptor = os.open(f"{path}/config", os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.pread(descriptor, 2, _COMMAND)
        finally:
            os.close(descriptor)
    except OSError:
        return None
    return int.from_bytes(data, "little") if len(data) == 2 else None
