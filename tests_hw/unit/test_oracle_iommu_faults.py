"""This file checks that faults of an IOMMU are told apart from other text, and by their kind."""

import pytest

from vfio_hw.oracle.iommu_faults import direction, iommu_faults, reached_by, unreported

FAULTS = [
    (
        "DMAR: [DMA Write NO_PASID] Request device [0000:00:04.0] fault addr 0x10000 [fault reason"
        " 0x05] PTE Write access is not set",
        "IOMMU fault: DMA Write, PTE Write access is not set",
    ),
    (
        "DMAR: [DMA Read NO_PASID] Request device [00:04.0] fault addr 0x10000 [fault reason 0x06]"
        " PTE Read access is not set",
        "IOMMU fault: DMA Read, PTE Read access is not set",
    ),
    (
        "DMAR: [DMA Read PASID 0x1] Request device [00:04.0] fault addr 0x0 [fault reason 0x71]"
        " SM: Present bit in first-level paging entry is clear",
        "IOMMU fault: DMA Read, SM: Present bit in first-level paging entry is clear",
    ),
    (
        "DMAR: [INTR-REMAP] Request device [0000:00:04.0] fault index 0x1b [fault reason 0x22]"
        " Present field in the IRTE entry is clear",
        "IOMMU fault: INTR-REMAP, Present field in the IRTE entry is clear",
    ),
    (
        "vfio-pci 0000:00:04.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x0008 address=0x10000"
        " flags=0x0020]",
        "IOMMU fault: IO_PAGE_FAULT",
    ),
    (
        "AMD-Vi: Event logged [INVALID_DEVICE_REQUEST device=0000:00:04.0 pasid=0x00000"
        " address=0xfffffffdf8000000 flags=0x0a00]",
        "IOMMU fault: INVALID_DEVICE_REQUEST",
    ),
    ("virtio_iommu virtio1: page fault from EP 32 at 0x10000 [R]", "IOMMU fault: page"),
    ("virtio_iommu virtio1: domain fault from EP 32", "IOMMU fault: domain"),
]


@pytest.mark.parametrize(("line", "title"), FAULTS, ids=[line[:40] for line, _ in FAULTS])
def test_a_fault_is_named_without_numbers(line: str, title: str) -> None:
    (fault,) = iommu_faults(["before", f"[   12.345678] {line}\r\n", "after"])
    assert (fault.title, fault.text) == (title, line)


@pytest.mark.parametrize("line", [line for line, _ in FAULTS], ids=lambda line: line[:40])
def test_a_fault_names_its_device(line: str) -> None:
    assert reached_by(line) == "0000:00:04.0"


@pytest.mark.parametrize(
    "line",
    [
        "DMAR: DRHD: handling fault status reg 2",
        "DMAR: Intel(R) Virtualization Technology for Directed I/O",
        "AMD-Vi: Interrupt remapping enabled",
        "virtio_iommu virtio1: input address: 64 bits",
        "snd 0000:00:1b.0: page fault from EP 32 in my own words",
    ],
)
def test_other_text_is_no_fault(line: str) -> None:
    assert iommu_faults([line]) == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        *zip((line for line, _ in FAULTS[:3]), ("write", "read", "read"), strict=True),
        (FAULTS[3][0], None),
        (FAULTS[4][0], "write"),
        (FAULTS[4][0].replace("0x0020", "0x0000"), "read"),
        (FAULTS[5][0], None),
        (FAULTS[6][0], "read"),
        (FAULTS[6][0].replace("[R]", "[W]"), "write"),
        (FAULTS[6][0].replace("[R]", "[]"), None),
        (FAULTS[7][0], None),
    ],
)
def test_a_fault_says_whether_it_is_of_a_read_where_its_driver_does(line, expected) -> None:
    assert direction(line) == expected


WRITE, READ, EITHER = FAULTS[0][0], FAULTS[1][0], FAULTS[7][0]
BOTH = ["read", "write"]


@pytest.mark.parametrize(
    ("lines", "wanted", "expected"),
    [
        ([], [], ["access"]),
        ([READ], [], []),
        ([], BOTH, BOTH),
        ([READ, READ], BOTH, ["write"]),
        ([WRITE], BOTH, ["read"]),
        ([WRITE, READ], BOTH, []),
        ([READ, EITHER], BOTH, []),
        ([EITHER, EITHER], BOTH, []),
        ([READ], ["read"], []),
    ],
)
def test_each_direction_is_to_be_reported_that_is_declared(lines, wanted, expected) -> None:
    assert unreported(lines, "0000:00:04.0", wanted) == expected
    assert unreported(lines, "0000:00:05.0", wanted) == (wanted or ["access"])


def test_one_fault_that_says_no_direction_stands_for_one() -> None:
    assert len(unreported([EITHER], "0000:00:04.0", BOTH)) == 1
