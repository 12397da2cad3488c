"""This file checks that the items are all that the headers have, and that a call finds its own."""

import re

import pytest

from vfio_hw.uapi import builder, ffi, items, lib, struct
from vfio_hw.uapi.families import FAMILIES, FEATURES, FOUND
from vfio_hw.uapi.items import capabilities, named, sections

FEATURE, SET_IRQS = "VFIO_DEVICE_FEATURE", "VFIO_DEVICE_SET_IRQS"
MSI = lib.VFIO_PCI_MSI_IRQ_INDEX
EVENTFD = lib.VFIO_IRQ_SET_DATA_EVENTFD
TRIGGER = lib.VFIO_IRQ_SET_ACTION_TRIGGER


def test_every_request_of_the_declarations_is_an_item_in_their_order():
    declared = re.findall(r"^#define (\w+) _IO[WR]*\(", builder.c_text(), re.MULTILINE)
    assert list(sections()[0].items) == declared
    assert len(declared) > 60


def test_no_item_is_there_twice_and_no_section_is_empty():
    names = [name for section in sections() for name in section.items]
    assert len(names) == len(set(names)) > 250
    assert all(section.items for section in sections())


def test_features_are_numbered_without_a_gap():
    """A feature that a pattern left out would leave one."""
    assert sorted(FEATURES.values.values()) == list(range(len(FEATURES.values)))


@pytest.mark.parametrize("prefix", ["PCI_NUM_REGIONS", "PCI_NUM_IRQS", "CCW_NUM_IRQS"])
def test_there_are_as_many_indices_as_the_headers_say(prefix):
    bus, _, what = prefix.split("_")
    kind = what.removesuffix("S")
    names = [name for section in sections() for name in section.items if not section.combined]
    found = [name for name in names if re.fullmatch(rf"VFIO_{bus}_\w+_{kind}(_INDEX)?", name)]
    assert len(found) == getattr(lib, f"VFIO_{prefix}")


def test_what_is_read_of_a_request_is_in_its_struct():
    for request, (name, members) in items.MEMBERS.items():
        assert request in sections()[0].items
        assert members == ("",) if not name else all(hasattr(struct(name), m) for m in members)


def test_a_call_whose_argument_was_not_read_is_its_request():
    assert list(named(FEATURE, ())) == [FEATURE]
    assert list(named("VFIO_DEVICE_RESET", ())) == ["VFIO_DEVICE_RESET"]


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        (lib.VFIO_DEVICE_FEATURE_GET, " GET"),
        (lib.VFIO_DEVICE_FEATURE_SET, " SET"),
        (lib.VFIO_DEVICE_FEATURE_PROBE | lib.VFIO_DEVICE_FEATURE_SET, " PROBE"),
        (lib.VFIO_DEVICE_FEATURE_GET | lib.VFIO_DEVICE_FEATURE_SET, None),
        (0, None),
    ],
)
def test_a_feature_goes_by_its_number_and_what_is_done(done, expected):
    name = "VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE"
    combined = [] if expected is None else [name + expected]
    assert list(named(FEATURE, (2 | done,))) == [FEATURE, name, *combined]


def test_a_feature_that_nobody_knows_is_the_request_only():
    assert list(named(FEATURE, (0xFFFF | lib.VFIO_DEVICE_FEATURE_GET,))) == [FEATURE]


def test_an_interrupt_goes_by_its_index_action_and_data():
    name = "VFIO_PCI_MSI_IRQ_INDEX"
    assert list(named(SET_IRQS, (MSI, EVENTFD | TRIGGER))) == [
        SET_IRQS,
        name,
        f"{name} TRIGGER EVENTFD",
    ]
    assert list(named(SET_IRQS, (MSI, TRIGGER))) == [SET_IRQS, name]
    assert list(named(SET_IRQS, (99, EVENTFD | TRIGGER))) == [SET_IRQS]


def test_an_attribute_counts_in_its_own_group_only():
    request = "KVM_SET_DEVICE_ATTR"
    both = ["KVM_DEV_VFIO_FILE_DEL", "KVM_DEV_VFIO_GROUP_DEL"]
    assert list(named(request, (2, lib.KVM_DEV_VFIO_FILE))) == [request, *both]
    assert list(named(request, (2, lib.KVM_DEV_VFIO_FILE + 1))) == [request]


def test_each_flag_of_a_mapping_is_an_item():
    flags = lib.VFIO_DMA_MAP_FLAG_READ | lib.VFIO_DMA_MAP_FLAG_VADDR
    expected = ["VFIO_DMA_MAP_FLAG_READ", "VFIO_DMA_MAP_FLAG_VADDR"]
    assert list(named("VFIO_IOMMU_MAP_DMA", (flags,)))[1:] == expected


def test_a_refusal_of_all_bits_at_once_says_nothing_of_those_that_have_names():
    assert list(named("VFIO_IOMMU_MAP_DMA", (0xFFFFFFFF,))) == ["VFIO_IOMMU_MAP_DMA"]


def test_every_name_that_a_call_finds_is_an_item():
    known = {name for section in sections() for name in section.items}
    for family in FAMILIES:
        for request, _, member in family.where:
            members = items.MEMBERS[request][1]
            for value in family.values.values():
                given = tuple(value if m == member else 1 for m in members)
                assert known >= set(named(request, given))


def test_a_capability_goes_by_the_request_that_it_came_with():
    number = lib.VFIO_REGION_INFO_CAP_MSIX_MAPPABLE
    found = {number: bytes(8)}
    assert list(capabilities("VFIO_DEVICE_GET_REGION_INFO", found)) == [
        "VFIO_REGION_INFO_CAP_MSIX_MAPPABLE"
    ]
    assert list(capabilities("VFIO_DEVICE_GET_INFO", found)) == ["VFIO_DEVICE_INFO_CAP_ZPCI_UTIL"]
    assert list(capabilities("VFIO_DEVICE_GET_IRQ_INFO", found)) == []
    assert all(family.values for family in FOUND.values())


def test_a_region_says_its_type_and_a_subtype_of_that_type():
    cap = struct(
        "vfio_region_info_cap_type",
        type=lib.VFIO_REGION_TYPE_GFX,
        subtype=lib.VFIO_REGION_SUBTYPE_GFX_EDID,
    )
    found = {lib.VFIO_REGION_INFO_CAP_TYPE: bytes(ffi.buffer(cap))}
    assert list(capabilities("VFIO_DEVICE_GET_REGION_INFO", found)) == [
        "VFIO_REGION_INFO_CAP_TYPE",
        "VFIO_REGION_TYPE_GFX",
        "VFIO_REGION_SUBTYPE_GFX_EDID",
    ]
