"""This file checks that nothing the machine stands on may be taken, on the kernel's own sysfs."""

import mmap
import os
from pathlib import Path

import pytest

from tests_hw.host.conftest import done, sh
from vfio_hw.host import modules
from vfio_hw.host.binding import bound_to
from vfio_hw.host.forked import forked
from vfio_hw.host.inventory import functions
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.safety import Safety
from vfio_hw.vfio.opened import opened


def test_what_nobody_uses_may_be_taken(rules, card, edu, shared, scratch):
    assert [rules(each) for each in (card, edu, *shared, scratch[0])] == [[]] * 5


def test_a_disk_with_a_mounted_file_system(rules, scratch, tmp_path):
    controller, disk = scratch
    where = tmp_path / "a place\nwith a line"
    where.mkdir()
    sh("mkfs.ext2", "-q", f"/dev/{disk}")
    with done(["mount", f"/dev/{disk}", where], ["umount", where]):
        (refusal,) = Safety().refusals(controller)
    assert (refusal.rule, refusal.reason) == ("mounted", f"{disk} is mounted on {where}")
    assert rules(controller) == []


def test_a_disk_that_is_swapped_to(rules, scratch):
    controller, disk = scratch
    sh("mkswap", f"/dev/{disk}")
    with done(["swapon", f"/dev/{disk}"], ["swapoff", f"/dev/{disk}"]):
        assert rules(controller) == ["swap"]
    assert rules(controller) == []


@pytest.mark.parametrize("uuid, rule", [("PLAIN-1", "dm"), ("LVM-1", "lvm")])
def test_a_disk_under_a_mapping(rules, scratch, uuid, rule):
    controller, disk = scratch
    modules.load("dm_mod")
    table = f"0 2048 linear /dev/{disk} 0"
    create = ["dmsetup", "create", "mapped", "--noudevsync", "--uuid", uuid, "--table", table]
    with done(create, ["dmsetup", "remove", "--noudevsync", "mapped"]):
        assert rules(controller) == [rule]
    assert rules(controller) == []


def test_what_is_on_a_mapping_counts_too(rules, scratch, tmp_path):
    controller, disk = scratch
    modules.load("dm_mod")
    table = f"0 16384 linear /dev/{disk} 0"
    create = ["dmsetup", "create", "mapped", "--noudevsync", "--table", table]
    with done(create, ["dmsetup", "remove", "--noudevsync", "mapped"]):
        node = next(Path("/sys/class/block").glob("dm-*")).name
        sh("mkfs.ext2", "-q", f"/dev/{node}")
        with done(["mount", f"/dev/{node}", tmp_path], ["umount", tmp_path]):
            assert rules(controller) == ["dm", "mounted"]


def test_a_disk_in_an_array(rules, scratch):
    controller, disk = scratch
    modules.load("md_mod")
    Path("/sys/module/md_mod/parameters/new_array").write_text("md_array")
    array = Path("/sys/block/md_array/md")
    (array / "metadata_version").write_text("external:none")
    (array / "new_dev").write_text(Path(f"/sys/class/block/{disk}/dev").read_text().strip())
    try:
        assert rules(controller) == ["md"]
    finally:
        (array / f"dev-{disk}/state").write_text("remove")
        (array / "array_state").write_text("clear")
    assert rules(controller) == []


@pytest.mark.parametrize(
    "offset, mark, rule",
    [
        (512, b"LABELONE", "lvm"),
        (4096, (0xA92B4EFC).to_bytes(4, "little"), "md"),
        ((16 << 20) - (64 << 10) - (16 << 20) % (64 << 10), (0xA92B4EFC).to_bytes(4, "big"), "md"),
        ((128 << 10) + 5 * 1024, (0x00BAB10C).to_bytes(8, "little"), "zfs"),
    ],
)
def test_a_disk_that_is_marked_as_a_member(rules, scratch, offset, mark, rule):
    controller, disk = scratch
    with Path(f"/dev/{disk}").open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), mark.ljust(512, b"\0"), offset)
    try:
        assert rules(controller) == [rule]
    finally:
        with Path(f"/dev/{disk}").open("r+b", buffering=0) as file:
            os.pwrite(file.fileno(), bytes(512), offset)
    assert rules(controller) == []


def test_an_interface_with_an_address_and_its_route(rules, card, interface):
    with done(
        ["ip", "address", "add", "192.0.2.1/24", "dev", interface],
        ["ip", "address", "flush", "dev", interface],
    ):
        assert rules(card) == ["address"]
        with done(["ip", "link", "set", interface, "up"], ["ip", "link", "set", interface, "down"]):
            (address, route) = Safety().refusals(card)
    assert address.reason == f"{interface} has the address 192.0.2.1/24"
    assert (route.rule, route.reason) == ("route", f"{interface} has the route to 192.0.2.0/24")
    assert rules(card) == []


def test_an_interface_that_is_up_for_whatever_reason(rules, card, interface):
    with done(["ip", "link", "set", interface, "up"], ["ip", "link", "set", interface, "down"]):
        (refusal,) = Safety().refusals(card)
    assert (refusal.rule, refusal.reason) == (
        "up",
        f"{interface} is up, so that something may use it",
    )
    assert rules(card) == []


def test_an_interface_in_a_bond(rules, card, interface):
    modules.load("bonding")
    with done(["ip", "link", "add", "bonded", "type", "bond"], ["ip", "link", "del", "bonded"]):
        sh("ip", "link", "set", interface, "down")
        sh("ip", "link", "set", interface, "master", "bonded")
        assert rules(card) == ["bond"]
        sh("ip", "link", "set", interface, "nomaster")
    assert rules(card) == []


def test_a_bridge_and_what_shares_a_group_with_one(rules):
    bridges = [each for each in functions() if each.class_code >> 16 == 0x06]
    assert bridges and all(set(rules(each)) == {"bridge"} for each in bridges)
    lonely = [each for each in functions() if each.class_code >> 16 != 0x06]
    beside = [each for each in lonely if any(other in bridges for other in each.siblings())]
    firm = [
        each
        for each in beside
        if any(other.class_code >> 8 != 0x0604 for other in each.siblings() if other in bridges)
    ]
    assert firm and all("bridge" in rules(each) for each in firm)
    # A bridge that only forwards does not hinder its group.
    assert any(each.kind and rules(each) == [] for each in beside)


def test_a_sibling_in_use_forbids_the_whole_group(rules, shared):
    first, card = shared
    interface = next((card.path / "net").iterdir()).name
    with done(
        ["ip", "address", "add", "192.0.2.1/24", "dev", interface],
        ["ip", "address", "flush", "dev", interface],
    ):
        (refusal,) = Safety().refusals(first)
    assert (refusal.address, refusal.rule) == (card.address, "address")


def test_a_device_that_another_process_has_open(scratch):
    controller, disk = scratch

    def holding(ready):
        with Path(f"/dev/{disk}").open("rb"):
            ready()

    with forked(holding) as pid:
        (refusal,) = Safety().refusals(controller)
    assert refusal.rule == "open" and f"pid {pid} (" in refusal.reason
    assert f"/dev/{disk}" in refusal.reason


def test_a_device_whose_memory_another_process_has_mapped(edu):
    def holding(ready):
        with (edu.path / "resource0").open("r+b") as file:
            memory = mmap.mmap(file.fileno(), 4096)
        ready()
        memory.close()

    (edu.path / "enable").write_text("1")
    try:
        with forked(holding) as pid:
            (refusal,) = Safety().refusals(edu)
    finally:
        (edu.path / "enable").write_text("0")
    assert refusal.rule == "open" and f"pid {pid} (" in refusal.reason


@pytest.mark.parametrize("mode", ["vfio_type1v2_iommu", "iommufd"])
def test_a_device_that_another_process_drives_through_vfio(edu, card, mode):
    for name in ("vfio_iommu_type1", "iommufd"):
        modules.load(name)

    def holding(ready):
        with opened(edu.path, mode):
            ready()

    with bound_to(edu), bound_to(card), forked(holding) as pid:
        refusals = Safety().refusals(edu)
        others = [each.rule for each in Safety().refusals(card)]
        told = [file.read_text() for file in Path(f"/proc/{pid}/fdinfo").iterdir()]
    assert {each.rule for each in refusals} == {"open"}
    assert all(f"pid {pid} (" in each.reason for each in refusals)
    # Where the kernel does not say which device is open, it may be any that a VFIO driver has.
    names_the_device = any("vfio-device-syspath:" in text for text in told)
    assert others == ([] if names_the_device else ["open"])


def test_a_physical_function_whose_virtual_one_is_in_use(life):
    physical: PciFunction = life.controller_with_virtual_functions()
    (physical.path / "sriov_numvfs").write_text("1")
    try:
        (virtual,) = physical.virtual_functions()
        assert Safety().refusals(physical) == []

        def holding(ready):
            with opened(virtual.path, "vfio_type1v2_iommu"):
                ready()

        with bound_to(virtual):
            (reserved,) = Safety().refusals(physical)
            with forked(holding) as pid:
                refusals = Safety().refusals(physical)
    finally:
        (physical.path / "sriov_numvfs").write_text("0")
    assert {each.rule for each in refusals} == {"vf"}
    assert refusals[0] == reserved and f"{virtual} is reserved for vfio-pci" in reserved.reason
    assert f"{virtual} is in use" in refusals[1].reason and f"pid {pid} (" in refusals[1].reason


def test_the_channel_of_the_root_file_system(rules):
    channels = [each for each in functions(PCI_ID="1AF4:1009") if each.driver == "virtio-pci"]
    assert [rules(each) for each in channels] == [["mounted"]]


def test_the_display_of_the_firmware_s_console(rules):
    (display,) = [each for each in functions() if each.class_code >> 16 == 0x03]
    assert (display.path / "boot_vga").read_text() == "1\n"
    assert rules(display) == ["console"]
