"""This file checks the rules for what no guest can have, on an imitation of sysfs and /proc."""

import os
from pathlib import Path

import pytest

from vfio_hw.host import backing, disk, network, storage
from vfio_hw.host.descendants import descendants
from vfio_hw.host.openers import Opening
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.safety import REMEDIES, Refusal, Safety
from vfio_hw.host.signatures import signature
from vfio_hw.host.tree import listed


def test_a_disk_that_carries_nothing(tree):
    tree.disk()
    assert tree.rules() == []


def test_a_member_of_a_zfs_pool_whose_uberblock_is_of_the_other_byte_order(tree):
    tree.disk(bytes(128 << 10) + (0x00BAB10C).to_bytes(8, "big"))
    assert tree.rules() == ["zfs"]


def test_a_label_of_zfs_at_the_end_of_the_disk_counts(tree):
    tree.disk(bytes((2 << 20) - (128 << 10)) + (0x00BAB10C).to_bytes(8, "little"))
    assert tree.rules() == ["zfs"]


def test_the_four_places_of_an_md_superblock(tree):
    magic = (0xA92B4EFC).to_bytes(4, "little")
    for offset in (0, 4096, (2 << 20) - 8192, (2 << 20) - (64 << 10)):
        (tree.root / "other").mkdir(exist_ok=True)
        disk = tree.root / "image"
        disk.write_bytes((bytes(offset) + magic).ljust(2 << 20, b"\0"))
        descriptor = os.open(disk, os.O_RDONLY)
        found = signature(descriptor)
        os.close(descriptor)
        assert found and found.rule == "md", offset


def test_a_disk_that_the_kernel_has_claimed(tree, monkeypatch):
    """As ZFS, bcache or DRBD do, none of which shows in holders."""
    tree.disk()
    real = os.open

    def claimed(path, flags, *args, **keywords):
        if str(path).endswith("nvme0n1") and flags & os.O_EXCL:
            raise OSError(16, "busy")
        return real(path, flags, *args, **keywords)

    monkeypatch.setattr(os, "open", claimed)
    assert tree.rules() == ["claimed"]


def test_a_disk_that_can_not_be_looked_at_is_not_offered(tree):
    tree.disk()
    (tree.root / "dev/nvme0n1").unlink()
    assert tree.rules() == ["unread"]


def test_a_mount_in_another_namespace_counts(tree):
    tree.disk()
    (tree.root / "proc/self/ns").mkdir()
    (tree.root / "proc/self/ns/mnt").symlink_to("mnt:[1]")
    other = tree.root / "proc/77"
    (other / "ns").mkdir(parents=True)
    (other / "ns/mnt").symlink_to("mnt:[2]")
    line = r"21 1 259:0 / /data\040of\012others rw - ext4 /dev/nvme0n1 rw"
    (other / "mountinfo").write_text(line + "\n")
    (refusal,) = tree.refusals()
    assert refusal.reason == "nvme0n1 is mounted on /data of\nothers"


def test_a_namespace_that_several_controllers_share(tree):
    subsystem = tree.root / "sys/devices/virtual/nvme-subsystem/nvme-subsys0"
    (tree.function / "nvme/nvme0").mkdir(parents=True)
    (subsystem / "nvme0n1").mkdir(parents=True)
    (subsystem / "nvme0n1/subsystem").symlink_to(tree.root / "sys/class/block")
    (subsystem / "nvme0n1/dev").write_text("259:0\n")
    (subsystem / "ng0n1").mkdir()
    (subsystem / "ng0n1/subsystem").symlink_to(tree.root / "sys/class/nvme-generic")
    (subsystem / "ng0n1/dev").write_text("241:0\n")
    (subsystem / "nvme0").symlink_to(tree.function / "nvme/nvme0")
    classes = tree.root / "sys/class/nvme-subsystem"
    classes.mkdir(parents=True)
    (classes / "nvme-subsys0").symlink_to(subsystem)
    found = {each.name: each.node for each in descendants(tree.function, tree.root)}
    assert found == {"ng0n1": (241, 0), "nvme0n1": (259, 0)}


@pytest.mark.parametrize("says", ["0x00ff00", "0x020000", "0x0c0330"])
@pytest.mark.parametrize("behind", ["", "0000:04:00.0/"])
def test_what_it_says_that_it_is_does_not_make_it_free(tree, says, behind):
    """The ids of a device that tests know, the class of what carries nothing, and a disk in use."""
    tree.attribute("vendor", "0x1234")
    tree.attribute("device", "0x11e8")
    tree.attribute("class", says)
    tree.below(f"{behind}nvme/nvme0/nvme0n1", "block", "259:0")
    (tree.root / "dev/nvme0n1").write_bytes(bytes(2 << 20))
    mounts = tree.root / "proc/self/mountinfo"
    mounts.write_text("21 1 259:0 / /data rw - ext4 /dev/nvme0n1 rw\n")
    function = PciFunction.at("0000:03:00.0", tree.bus)
    assert (function.kind, tree.rules()) == ("edu", ["mounted"])
    assert "is mounted on" in " ".join(listed(function, Safety(tree.root)).obstacles)


def test_the_display_that_shows_the_console(tree):
    tree.attribute("class", "0x030000")
    tree.attribute("boot_vga", "0")
    assert tree.rules() == []
    tree.attribute("boot_vga", "1")
    assert tree.rules() == ["console"]


def test_a_frame_buffer_and_a_serial_console(tree):
    tree.below("graphics/fb0", "graphics", "29:0")
    tree.below("tty/ttyS4", "tty", "4:68")
    (tree.root / "sys/class/tty/console").mkdir()
    active = tree.root / "sys/class/tty/console/active"
    active.write_text("tty0 ttyS4\n")
    assert tree.rules() == ["console", "console"]
    active.write_text("tty0\n")
    assert tree.rules() == ["console"]


def test_an_interface_that_is_in_another_network_namespace(tree):
    tree.attribute("class", "0x020000")
    assert tree.rules() == []
    tree.driver("e1000e")
    assert tree.rules() == ["namespace"]
    tree.below("net/eth0", "net")
    (tree.function / "net/eth0/ifindex").write_text("4096\n")
    assert tree.rules() == []


def test_what_stands_on_an_interface(tree):
    interface = tree.below("net/eth0", "net")
    (interface / "ifindex").write_text("4096\n")
    for upper in ("upper_bond0", "upper_vlan7"):
        (interface / upper).mkdir()
    (tree.root / "sys/class/net/bond0/bonding").mkdir(parents=True)
    assert [(use.rule, use.text) for use in network.uses("eth0", tree.root)] == [
        ("bond", "eth0 is part of the bond bond0"),
        ("stacked", "eth0 is under vlan7"),
    ]
    # Whatever class of device the function says that it is.
    assert tree.rules() == ["bond", "stacked"]


def test_mediated_devices_stand_on_their_parent(tree):
    tree.below("6f1c0f2e-0000-4000-8000-000000000000", "mdev")
    assert tree.rules() == ["mdev"]


def test_whose_a_vfio_descriptor_is():
    directory = Path("/sys/devices/pci0000:00/0000:00:04.0")
    unsaid = Opening(1, "qemu", "a VFIO device", vfio=True)
    said = Opening(1, "qemu", "a VFIO device", vfio=True, device=str(directory))
    # Older kernels do not say: it may be any device that a VFIO driver has.
    assert unsaid.is_of(directory, set(), vfio=True)
    assert not unsaid.is_of(directory, set(), vfio=False)
    assert said.is_of(directory, set(), vfio=True)
    assert not said.is_of(directory.with_name("0000:00:05.0"), set(), vfio=True)


def test_every_rule_has_a_remedy():
    source = (
        "".join(
            Path(module.__file__ or "").read_text() for module in (storage, backing, disk, network)
        )
        + Path(storage.__file__ or "").with_name("safety.py").read_text()
    )
    for rule in REMEDIES:
        assert f'"{rule}"' in source
        assert Refusal("0000:00:04.0", rule, "so").remedy
