"""Where interrupts go. Source: Documentation/core-api/irq/irq-affinity.rst."""

import re
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.host.sysfs import lines_of

INTERRUPTS = Path("/proc/interrupts")


def sent_to(device: str, interrupts: Path = INTERRUPTS) -> Path:
    """The file that says to which processors the only interrupt of a vfio-pci device goes.

    :param device: its PCI address.
    :raises HarnessError: it has none.
    """
    lines = "\n".join(lines_of(interrupts))
    number = re.search(rf"^ *(\d+):.*vfio-\w+(?:\[\d+\])?\({device}\)", lines, re.MULTILINE)
    if not number:
        raise HarnessError(f"{device} has no interrupt in {interrupts}: arm one first")
    return Path(f"/proc/irq/{number[1]}/smp_affinity_list")
