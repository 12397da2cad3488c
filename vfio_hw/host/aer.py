"""Errors that a PCI Express function reports (AER): making one, and what the kernel says of it.

Source: Documentation/PCI/pcieaer-howto.rst, Documentation/PCI/pci-error-recovery.rst.
"""

import contextlib
import os
import re
import select
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from vfio_hw.errors import HarnessError, KernelRefused, KernelSplat, Unsupported
from vfio_hw.host import modules
from vfio_hw.host.hypervisor import Hypervisor
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.sysfs import attribute

#: An error of each severity that has to be recovered from, in the words of QEMU's monitor: what the
#: link layer got wrong, and a completion that was aborted.
UNCORRECTABLE = {"fatal": "DLP", "nonfatal": "COMP_ABORT"}
CORRECTABLE = "correctable"
_TOTAL = re.compile(r"^TOTAL_ERR_\w+ (\d+)$", re.MULTILINE)

_INJECTOR = "aer_inject"
_NODE = Path("/dev/aer_inject")
# Bus, device, function; status of uncorrectable and of correctable errors; four words of the
# transaction's header; domain.  Source: struct aer_error_inj in drivers/pci/pcie/aer_inject.c.
_REQUEST = struct.Struct("=3Bx7I")
_UEVENTS, _KERNEL, _AT_ONCE = 15, 1, 1 << 16  # NETLINK_KOBJECT_UEVENT; the kernel's own group
_RECEIVER_ERROR = 1 << 0  # PCI_ERR_COR_RCVR in linux/pci_regs.h


def counted(function: PciFunction) -> dict[str, int]:
    """How many errors of each severity the kernel has had from the function.

    Source: Documentation/ABI/testing/sysfs-bus-pci-devices-aer.

    :raises Unsupported: it can not report errors, or this kernel does not take them.
    """
    counts = {}
    for severity in (CORRECTABLE, *UNCORRECTABLE):
        text = attribute(function.path / f"aer_dev_{severity}")
        total = _TOTAL.search(text or "")
        if total is None:
            raise Unsupported(
                f"{function} reports no errors to the kernel", option="CONFIG_PCIEAER"
            )
        counts[severity] = int(total[1])
    return counts


def report(qemu: Hypervisor, device: str, severity: str) -> None:
    """Let the device of QEMU's report an uncorrectable error to its root port.

    :param device: its id in fixtures/machines.
    :raises HarnessError: QEMU does not do it.
    """
    error = UNCORRECTABLE[severity]
    said = qemu.monitor(f"pcie_aer_inject_error {device} {error}").strip()
    if not said.startswith("OK"):
        raise HarnessError(f"{device} was to report the error {error}, and QEMU said: {said}")


@contextlib.contextmanager
def injector() -> Iterator[None]:
    """The kernel's own injector of errors is there inside.

    :raises Unsupported: this kernel has none.
    """
    modules.load(_INJECTOR)
    try:
        yield
    finally:
        modules.unload(_INJECTOR)


def inject_correctable(function: PciFunction) -> None:
    """Let the kernel find in the registers of the function that it has corrected an error.

    That is the injector's work, since QEMU does not carry these up to the root port.

    :raises KernelRefused: with its errno.
    """
    domain, bus, rest = function.address.split(":")
    device, number = rest.split(".")
    place = (int(bus, 16), int(device, 16), int(number, 16))
    data = _REQUEST.pack(*place, 0, _RECEIVER_ERROR, 0, 0, 0, 0, int(domain, 16))
    descriptor = os.open(_NODE, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, data)
    except OSError as error:
        raise KernelRefused(error.errno or 0, "write of an error", str(_NODE)) from None
    finally:
        os.close(descriptor)


class Recoveries:
    """What the kernel tells user space of the recovery of one function, from when this is made.

    Source: pci_uevent_ers() in drivers/pci/pci-driver.c, linux/netlink.h.
    """

    def __init__(self, function: PciFunction) -> None:
        self._function = function
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, _UEVENTS)
        self._socket.bind((0, _KERNEL))

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()

    def next(self, deadline: float) -> str:
        """The next word: BEGIN_RECOVERY, SUCCESSFUL_RECOVERY or FAILED_RECOVERY.

        :param deadline: seconds.
        :raises KernelSplat: there is none.
        """
        end = time.monotonic() + deadline
        while select.select([self._socket], [], [], max(0.0, end - time.monotonic()))[0]:
            words = self._socket.recv(_AT_ONCE).decode(errors="replace").split("\0")
            said = dict(word.split("=", 1) for word in words if "=" in word)
            if said.get("PCI_SLOT_NAME") == self._function.address and "ERROR_EVENT" in said:
                return said["ERROR_EVENT"]
        raise KernelSplat(
            f"{self._function} reported an error, and nothing more came of its recovery within"
            f" {deadline:g} s: see the kernel log",
            oracle="answer",
        )

    def must_succeed(self, deadline: float) -> None:
        """A recovery has begun, and succeeds.

        :raises KernelSplat: not so, or not in time.
        """
        words = [self.next(deadline), self.next(deadline)]
        if words != ["BEGIN_RECOVERY", "SUCCESSFUL_RECOVERY"]:
            raise KernelSplat(f"the recovery of {self._function} went {words}", oracle="answer")
