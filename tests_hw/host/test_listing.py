"""This file checks what list and doctor tell of this machine, beside what sysfs shows of it."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from vfio_hw.host import modules
from vfio_hw.host.inventory import functions
from vfio_hw.host.mdev import created, type_by_id
from vfio_hw.host.sysfs import names_in

GROUPS = Path("/sys/kernel/iommu_groups")


@pytest.fixture
def mdev():
    modules.load("mtty")
    with created(type_by_id("mtty-1")) as mdev:
        yield mdev


def sections(said: str) -> dict[str, list[str]]:
    """The lines below each line that is not indented."""
    found: dict[str, list[str]] = {}
    below: list[str] = []
    for line in said.splitlines():
        if line.startswith(" "):
            below.append(line)
        else:
            below = found[line] = []
    return found


def members(number: object) -> list[str]:
    return names_in(GROUPS / str(number) / "devices")


def group(number: int | None) -> str:
    return f"IOMMU group {number} ({(GROUPS / str(number) / 'type').read_text().strip()})"


def test_the_tree_has_every_member_of_every_group(command, mdev):
    status, said = command("list")
    told = sections(said)
    assert status == 0
    for number in names_in(GROUPS):
        whole = members(number)
        lines = [line for line in told[group(int(number))] if not line.startswith("   ")]
        assert sorted({*whole} & {*" ".join(lines).split()}) == whole and len(lines) == len(whole)
    assert f"  mdev {mdev.uuid}" in told[group(mdev.iommu_group)]


def test_a_function_has_its_ids_kind_driver_and_what_speaks_against_it(
    command, card, edu, interface
):
    _, said = command("list")
    told = sections(said)
    assert f"  {edu}  1234:11e8  edu       no driver  can be tested" in told[group(edu.iommu_group)]
    assert f"  {card}  8086:10d3  e1000e    driver e1000e  can be tested" in said
    subprocess.run(["ip", "address", "add", "192.0.2.1/24", "dev", interface], check=True)
    try:
        _, said = command("list")
    finally:
        subprocess.run(["ip", "address", "flush", "dev", interface], check=True)
    lines = sections(said)[group(card.iommu_group)]
    assert lines == [
        f"  {card}  8086:10d3  e1000e    driver e1000e",
        f"      not: {interface} has the address 192.0.2.1/24 [address]: take the address away,"
        " with ip address del",
    ]
    (display,) = [each for each in functions() if each.class_code >> 16 == 0x03]
    lines = sections(said)[group(display.iommu_group)]
    assert any(line.startswith(f"  {display}  1234:1111  display   no driver") for line in lines)
    assert "      not: no test knows its kind, only edu, e1000e, nvme" in lines


def test_an_override_is_told(command, edu):
    (edu.path / "driver_override").write_text("vfio-pci")
    try:
        _, said = command("list")
    finally:
        (edu.path / "driver_override").write_text("\n")
    assert (
        f"  {edu}  1234:11e8  edu       no driver, driver_override vfio-pci  can be tested" in said
    )


def test_mediated_devices_are_told_by_parent_and_type(command, mdev):
    _, said = command("list")
    kind = type_by_id("mtty-1")
    left = (kind.path / "available_instances").read_text().strip()
    name = (kind.path / "name").read_text().strip()
    lines = sections(said)["mdev parent mtty"]
    at = lines.index(f"  mtty-1  {name}, vfio-pci, {left} more can be made")
    assert lines[at + 1] == f"    {mdev.uuid}  IOMMU group {mdev.iommu_group}"
    assert any(line.startswith("  mtty-2  ") for line in lines)


def test_a_program_is_told_the_same(command, edu, shared, mdev):
    status, said = command("list", "--json")
    told = json.loads(said)
    assert status == 0 and told["all_seen"] is True
    assert told["kinds"] == {"edu": "1234:11e8", "e1000e": "8086:10d3", "nvme": "1b36:0010"}
    of = {each["address"]: each for each in told["functions"]}
    assert set(of) == {each.address for each in functions()}
    found = of[edu.address]
    assert found["kind"] == "edu" and found["testable"] and found["obstacles"] == []
    assert (found["group"], found["driver"]) == (edu.iommu_group, None)
    groups = {each["group"]: each for each in told["groups"]}
    assert sorted(groups) == sorted(int(each.name) for each in GROUPS.iterdir())
    one = groups[shared[0].iommu_group]
    assert one["type"] == (GROUPS / str(one["group"]) / "type").read_text().strip()
    assert sorted(one["functions"]) == members(one["group"])
    assert groups[mdev.iommu_group]["others"] == [f"mdev {mdev.uuid}"]
    (parent,) = [each for each in told["mdev_parents"] if each["parent"] == "mtty"]
    (kind,) = [each for each in parent["types"] if each["id"] == "mtty-1"]
    assert kind["instances"] == [{"uuid": mdev.uuid, "group": mdev.iommu_group}]


def test_doctor_names_the_groups_that_can_not_be_taken_and_why(command, shared):
    """One line, also where the member that is in use is of no kind that a test knows."""
    interface = next((shared[1].path / "net").iterdir()).name
    subprocess.run(["ip", "address", "add", "192.0.2.1/24", "dev", interface], check=True)
    try:
        _, said = command("doctor", "--json")
        _, listed = command("list", "--json")
    finally:
        subprocess.run(["ip", "address", "flush", "dev", interface], check=True)
    (line,) = [each for each in json.loads(said)["checks"] if each["name"] == "groups"]
    used = [
        each
        for each in json.loads(listed)["functions"]
        if each["refusals"] and not each["class"].startswith("06")
    ]
    bad = sorted({each["group"] for each in used})
    assert shared[0].iommu_group in bad and any(each["kind"] is None for each in used)
    whole = f"{len(bad)} of {len(names_in(GROUPS))} can not be taken: "
    assert line["verdict"] == "note" and line["reason"].startswith(whole)
    assert re.findall(r"group (\d+) \(", line["reason"]) == [str(each) for each in bad[:3]]
    assert line["reason"].endswith(f", and {len(bad) - 3} more") or len(bad) <= 3
    first = next(each for each in used if each["group"] == bad[0])["refusals"][0]
    why = f"group {bad[0]} ({first['address']}: {first['reason']} [{first['rule']}])"
    assert line["reason"].startswith(whole + why)
