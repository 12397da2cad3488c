"""This file checks what doctor says of IOMMU groups, and that JSON is fit for every parser."""

import json
from dataclasses import replace

import pytest

from vfio_hw.here.as_json import as_json
from vfio_hw.here.group_check import viability
from vfio_hw.host.safety import Refusal
from vfio_hw.host.tree import Listed


@pytest.fixture
def member(tree):
    """A function of this group, of no kind that a test knows; by default nothing is against it."""

    def make(group: int, *refusals: Refusal) -> Listed:
        return Listed(tree.pci(), group, "nvme", None, refusals)

    return make


def refusal(address: str) -> Refusal:
    return Refusal(address, "mounted", "nvme0n1 is mounted on /")


def test_groups_that_can_not_be_taken_are_named_in_one_line(member):
    bad = [member(number, refusal(f"0000:0{number}:00.0")) for number in (1, 2, 4, 5)]
    check = viability([member(3), *bad], {})
    assert (check.verdict, check.reason) == (
        "note",
        "4 of 5 can not be taken: group 1 (0000:01:00.0: nvme0n1 is mounted on / [mounted]),"
        " group 2 (0000:02:00.0: nvme0n1 is mounted on / [mounted]),"
        " group 4 (0000:04:00.0: nvme0n1 is mounted on / [mounted]), and 1 more",
    )


def test_a_group_of_a_bridge_alone_is_not_told(tree, member):
    tree.attribute("class", "0x060400")
    check = viability([member(1, replace(refusal("0000:03:00.0"), rule="bridge"))], {})
    assert check.verdict == "ok" and check.reason == "none of 1 has a member that is in use"


def test_a_member_that_is_no_pci_function_and_has_a_driver(tree, member):
    sys = tree.root / "sys"
    for name, driver in (("a.0", "dwc3"), ("b.0", "vfio-platform"), ("c.0", None)):
        (sys / f"bus/platform/devices/{name}").mkdir(parents=True)
        if driver:
            link = sys / f"bus/platform/devices/{name}/driver"
            link.symlink_to(sys / f"bus/platform/drivers/{driver}")
    others = {1: ["platform a.0"], 2: ["platform b.0"], 3: ["platform c.0"]}
    check = viability([member(1)], others, sys)
    assert check.reason == "1 of 3 can not be taken: group 1 (platform a.0 has the driver dwc3)"


def test_without_groups_there_is_nothing_to_take():
    assert viability([], {}).reason == "there is none"


def test_json_has_no_half_of_a_surrogate_pair():
    """It is told as on the screen; whole text is left as it is."""
    name = b"a\xff\n\xc3\xa9".decode(errors="surrogateescape")
    told = as_json({"checks": [{"reason": name, name: 1}], "group": None, "lone": "\ud800"})
    assert told.isascii()
    fit = "a\\xff\n\u00e9"
    assert json.loads(told) == {
        "checks": [{"reason": fit, fit: 1}],
        "group": None,
        "lone": "\\ud800",
    }
