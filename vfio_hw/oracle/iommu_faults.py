"""Faults that an IOMMU reported: a device reached for memory that is not mapped for it.

After a test that did not mean to they are as bad as a splat; a test that does mean to declares
them. The messages are those of drivers/iommu/intel/dmar.c, amd/iommu.c and virtio-iommu.c, of
Linux 6.1 to 7.3.
"""

import re
from collections.abc import Iterable, Sequence
from enum import Enum

from vfio_hw.oracle.splats import Splat, without_stamp

_INTEL = re.compile(
    r"DMAR: \[(?P<what>[\w-]+(?: \w+)??)(?: NO_PASID| PASID 0x[0-9a-f]+)?\] Request device"
    r" .*\[fault reason 0x[0-9a-f]+\] (?P<why>.*)"
)
_AMD = re.compile(r"(?:\S+ \S+: )?AMD-Vi: Event logged \[(?P<what>\w+)")
_VIRTIO = re.compile(r"virtio_iommu \S+: (?P<what>\w+(?: \w+)*) fault from EP \d+")
_ADDRESS = re.compile(r"\b(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])\b")
_ENDPOINT = re.compile(r" from EP (\d+)")
# How each driver tells a read from a write; AMD's bit is RW of the I/O Virtualization Technology
# Specification, 2.5.3, IO_PAGE_FAULT Event. virtio-iommu does not tell it of what is not mapped.
_DIRECTION = re.compile(
    r"DMAR: \[DMA (?P<dmar>Read|Write)\b|IO_PAGE_FAULT .*flags=(?P<amd>0x[0-9a-f]+)"
    r"|fault from EP \d+ at \S+ \[(?P<virtio>[RW])"
)
_AMD_WRITE = 1 << 5


class Faults(Enum):
    """What a test has declared of IOMMU faults."""

    NONE = "none"  #: it did not declare any
    MAY = "may"  #: it declared them, and did not come to its end
    MUST = "must"  #: it declared them


def reached_by(line: str) -> str | None:
    """The PCI address of the device that a fault is of; None when the line does not name it."""
    if match := _ADDRESS.search(line):
        return f"{match[1] or '0000'}:{match[2]}"
    if match := _ENDPOINT.search(line):
        # Of a PCI function it is segment and requester id. Source: ACPI, Virtual I/O Table.
        number = int(match[1])
        return f"{number >> 16:04x}:{number >> 8 & 0xFF:02x}:{number >> 3 & 0x1F:02x}.{number & 7}"
    return None


def direction(line: str) -> str | None:
    """Whether a fault is of a "read" or of a "write"; None when the line does not say."""
    match = _DIRECTION.search(line)
    if match is None:
        return None
    if match["amd"]:
        return "write" if int(match["amd"], 16) & _AMD_WRITE else "read"
    return "write" if (match["dmar"] or match["virtio"]).startswith("W") else "read"


def unreported(lines: Iterable[str], of: str | None, wanted: Sequence[str]) -> list[str]:
    """Of the directions in which a device was to be stopped, those that no fault tells of.

    A fault that does not say its direction may be of any one of them.

    :param wanted: "read", "write"; empty: at least one fault is to be there, whichever.
    """
    told = [direction(fault.text) for fault in iommu_faults(lines) if reached_by(fault.text) == of]
    if not wanted:
        return [] if told else ["access"]
    missing = [each for each in wanted if each not in told]
    return missing[told.count(None) :]


def iommu_faults(lines: Iterable[str]) -> list[Splat]:
    """Every fault in these lines of a kernel log, one line each."""
    found = []
    for line in map(without_stamp, lines):
        if match := _INTEL.match(line):
            found.append(Splat(f"IOMMU fault: {match['what']}, {match['why']}", line))
        elif match := _AMD.match(line) or _VIRTIO.match(line):
            found.append(Splat(f"IOMMU fault: {match['what']}", line))
    return found
