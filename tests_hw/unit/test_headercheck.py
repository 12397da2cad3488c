"""This file checks that a declaration that is not what the kernel's headers say is reported."""

from pathlib import Path

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.uapi import headercheck
from vfio_hw.uapi.builder import c_text

# A few of the header's facts, in the grammar of the kernel's headers.
HEADER = """
#include <linux/ioctl.h>
#include <linux/types.h>
#define VFIO_TYPE (';')
#define VFIO_BASE 100
#define VFIO_DEVICE_API_PCI_STRING "vfio-pci"
struct vfio_device_info {
    __u32 argsz;
    __u32 flags;
#define VFIO_DEVICE_FLAGS_RESET (1 << 0)
    __u32 num_regions, num_irqs;
    __u32 cap_offset;
    __u32 pad;
};
#define VFIO_DEVICE_GET_INFO _IO(VFIO_TYPE, VFIO_BASE + 7)
enum { VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_BAR1_REGION_INDEX };
struct vfio_region_sparse_mmap_area { __aligned_u64 offset; __aligned_u64 size; };
struct vfio_info_cap_header { __u16 id; __u16 version; __u32 next; };
struct vfio_region_info_cap_sparse_mmap {
    struct vfio_info_cap_header header;
    __u32 nr_areas;
    __u32 reserved;
    struct vfio_region_sparse_mmap_area areas[];
};
struct vfio_pci_dependent_device {
    union { __u32 group_id; __u32 devid; };
#define VFIO_PCI_DEVID_NOT_OWNED -1
    __u16 segment;
    __u8 bus;
    __u8 devfn;
};
struct vfio_device_bind_iommufd {
    __u32 argsz;
    __u32 flags;
    __s32 iommufd;
    __u32 out_devid;
    __aligned_u64 token_uuid_ptr;
};
"""


def tree(root: Path, header: str = HEADER) -> Path:
    path = root / "include" / "linux" / "vfio.h"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(header)
    return root


def doctored(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, f"'{old}' must be in the text once for the test to mean anything"
    return text.replace(old, new)


def test_right_declarations_have_no_differences(tmp_path):
    report = headercheck.check(tree(tmp_path))
    assert report.differences == []
    assert report.new == []
    assert "VFIO_DEVICE_RESET" in report.missing
    assert "struct iommu_ioas_map" in report.missing
    assert "struct vfio_device_info" not in report.missing


INFO = "uint32_t num_regions;\n    uint32_t num_irqs;\n    uint32_t cap_offset;\n    uint32_t pad;"
WRONG = {
    "size": (
        INFO,
        INFO.replace("uint32_t pad", "uint64_t pad"),
        "struct vfio_device_info is 32 bytes in our declarations and 24 in theirs",
    ),
    "offset": (
        INFO,
        INFO.replace("regions", "irq_").replace("irqs", "regions").replace("irq_", "irqs"),
        "struct vfio_device_info.num_irqs is 4 bytes at offset 8 in our declarations"
        " and 4 bytes at offset 12 in theirs",
    ),
    "width": (
        "uint16_t segment;\n    uint8_t bus;",
        "uint8_t segment;\n    uint8_t unused;\n    uint8_t bus;",
        "struct vfio_pci_dependent_device.segment is 1 bytes at offset 4 in our declarations"
        " and 2 bytes at offset 4 in theirs",
    ),
    "member of a union": (
        "uint32_t devid;",
        "uint16_t devid;",
        "struct vfio_pci_dependent_device.devid is 2 bytes at offset 0 in our declarations"
        " and 4 bytes at offset 0 in theirs",
    ),
    "sign": (
        "int32_t iommufd;",
        "uint32_t iommufd;",
        "struct vfio_device_bind_iommufd.iommufd is 4 bytes at offset 8 in our declarations"
        " and signed, 4 bytes at offset 8 in theirs",
    ),
    "name of a member": (
        "uint64_t token_uuid_ptr;",
        "uint64_t token_uuid;",
        "struct vfio_device_bind_iommufd.token_uuid is only in our declarations",
    ),
    "elements of a flexible array": (
        "struct vfio_region_sparse_mmap_area areas[];",
        "uint64_t areas[];",
        "struct vfio_region_info_cap_sparse_mmap.areas is 0 bytes in elements of 8 at offset 16"
        " in our declarations and 0 bytes in elements of 16 at offset 16 in theirs",
    ),
    "constant": (
        "#define VFIO_DEVICE_FLAGS_RESET (1 << 0)",
        "#define VFIO_DEVICE_FLAGS_RESET (1 << 1)",
        "VFIO_DEVICE_FLAGS_RESET is 2 in our declarations and 1 in theirs",
    ),
    "constant that is an enumerator": (
        "#define VFIO_PCI_BAR1_REGION_INDEX 1",
        "#define VFIO_PCI_BAR1_REGION_INDEX 2",
        "VFIO_PCI_BAR1_REGION_INDEX is 2 in our declarations and 1 in theirs",
    ),
    "negative constant": (
        "#define VFIO_PCI_DEVID_NOT_OWNED 0xffffffff",
        "#define VFIO_PCI_DEVID_NOT_OWNED 0xfffffffe",
        "VFIO_PCI_DEVID_NOT_OWNED is 4294967294 in our declarations and 4294967295 in theirs",
    ),
    "string": (
        '"vfio-pci"',
        '"vfio-usb"',
        "VFIO_DEVICE_API_PCI_STRING is vfio-usb in our declarations and vfio-pci in theirs",
    ),
    "ioctl number": (
        "#define VFIO_DEVICE_GET_INFO _IO(';', 107)",
        "#define VFIO_DEVICE_GET_INFO _IO(';', 108)",
        "VFIO_DEVICE_GET_INFO is 15212 in our declarations and 15211 in theirs",
    ),
}


@pytest.mark.parametrize(("old", "new", "sentence"), WRONG.values(), ids=WRONG)
def test_a_wrong_declaration_is_reported(tmp_path, monkeypatch, old, new, sentence):
    wrong = doctored(c_text(), old, new)
    monkeypatch.setattr(headercheck, "c_text", lambda: wrong)
    assert sentence in headercheck.check(tree(tmp_path)).differences


def test_a_struct_that_grew_is_reported(tmp_path):
    header = doctored(HEADER, "__u32 pad;", "__u32 pad; __u64 more;")
    report = headercheck.check(tree(tmp_path, header))
    assert report.differences == [
        "struct vfio_device_info is 24 bytes in our declarations and 32 in theirs",
        "struct vfio_device_info.more is only in theirs",
    ]
    assert report.new == []


def test_names_that_change_nothing_of_ours_are_new(tmp_path):
    header = doctored(HEADER, "__u32 devid;", "__u32 devid; __u32 alias;")
    header += "struct vfio_novelty { __u32 a; };\n#define VFIO_NOVELTY 5\nenum { IOMMU_NOVELTY };\n"
    report = headercheck.check(tree(tmp_path, header))
    assert report.differences == []
    assert report.new == [
        "IOMMU_NOVELTY",
        "VFIO_NOVELTY",
        "struct vfio_novelty",
        "struct vfio_pci_dependent_device.alias",
    ]


def test_what_older_headers_lack_is_missing_and_only_strictly_a_difference(tmp_path):
    headers = tree(tmp_path, doctored(HEADER, "    __u32 cap_offset;\n    __u32 pad;\n", ""))
    report = headercheck.check(headers)
    assert report.differences == []
    assert "struct vfio_device_info.cap_offset" in report.missing
    assert "struct vfio_device_info.pad" in report.missing
    strict = headercheck.check(headers, strict=True)
    assert "struct vfio_device_info.pad is only in our declarations" in strict.differences
    assert "VFIO_DEVICE_RESET is only in our declarations" in strict.differences


def test_a_header_that_the_kernel_lacks_is_not_taken_from_the_system(tmp_path):
    """The system has a linux/iommufd.h or not; this tree has none, so its names are missing."""
    assert "IOMMU_IOAS_MAP" in headercheck.check(tree(tmp_path)).missing


def test_the_command_fails_on_a_difference_and_says_it(tmp_path, monkeypatch, capsys):
    header = doctored(HEADER, "VFIO_BASE + 7", "VFIO_BASE + 8")
    monkeypatch.setattr("sys.argv", ["headercheck", str(tree(tmp_path, header))])
    assert headercheck.main() == 1
    assert "VFIO_DEVICE_GET_INFO is 15211 in our declarations" in capsys.readouterr().out
    tree(tmp_path)
    assert headercheck.main() == 0
    assert capsys.readouterr().out.startswith("differences: 0\nmissing: ")


def test_a_directory_without_headers_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["headercheck", str(tmp_path)])
    assert headercheck.main() == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert f"against {tmp_path} found no include/linux/vfio.h" in err


def test_headers_that_do_not_compile_are_not_taken_for_the_same(tmp_path):
    with pytest.raises(HarnessError, match=r"ended with status 1 and .*error"):
        headercheck.check(tree(tmp_path, HEADER + "struct vfio_broken { nonsense x; };\n"))
