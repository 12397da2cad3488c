"""This file checks that uses count which leave no mark on the device: no holder, no interface."""

import os
from pathlib import Path

import pytest

from tests_hw.host.conftest import done, sh
from vfio_hw.host import modules, network
from vfio_hw.host.forked import forked
from vfio_hw.host.safety import Safety

CONFIG = Path("/sys/kernel/config")
SUBSYSTEM = CONFIG / "nvmet/subsystems/exported"


def claimable(disk: str) -> bool:
    """The kernel lets somebody have the disk for himself."""
    try:
        os.close(os.open(f"/dev/{disk}", os.O_RDONLY | os.O_EXCL))
    except OSError:
        return False
    return True


@pytest.fixture
def loops():
    modules.load("loop")


def test_a_disk_under_a_loop_device(rules, scratch, loops, tmp_path):
    controller, disk = scratch
    with done(["losetup", "/dev/loop0", f"/dev/{disk}"], ["losetup", "-d", "/dev/loop0"]):
        assert claimable(disk) and not any(Path(f"/sys/class/block/{disk}/holders").iterdir())
        (refusal,) = Safety().refusals(controller)
        sh("mkfs.ext2", "-q", "/dev/loop0")
        with done(["mount", "/dev/loop0", tmp_path], ["umount", tmp_path]):
            assert rules(controller) == ["loop", "mounted"]
    assert (refusal.rule, refusal.reason) == ("loop", f"{disk} is under the loop device loop0")
    assert rules(controller) == []


def test_a_loop_device_whose_path_leads_nowhere_any_more(rules, scratch, loops, tmp_path):
    """And one on a file, which is of a file system, and no disk's."""
    controller, disk = scratch
    node, file = tmp_path / "node", tmp_path / "file"
    numbers = Path(f"/sys/class/block/{disk}/dev").read_text().strip().split(":")
    sh("mknod", node, "b", *numbers)
    file.write_bytes(bytes(1 << 20))
    with done(["losetup", "/dev/loop0", node], ["losetup", "-d", "/dev/loop0"]):
        node.unlink()
        assert rules(controller) == ["loop"]
    with done(["losetup", "/dev/loop0", file], ["losetup", "-d", "/dev/loop0"]):
        assert rules(controller) == []
        file.unlink()
        assert rules(controller) == []


@pytest.fixture
def target():
    """A subsystem of this machine's NVMe target; yields its only namespace, without a disk."""
    modules.load("nvmet")
    space = SUBSYSTEM / "namespaces/1"
    sh("mount", "-t", "configfs", "none", CONFIG)
    SUBSYSTEM.mkdir()
    space.mkdir()
    try:
        yield space
    finally:
        space.rmdir()
        SUBSYSTEM.rmdir()
        sh("umount", CONFIG)
        sh("modprobe", "-r", "nvmet")


def test_a_disk_that_is_exported(rules, scratch, target):
    controller, disk = scratch
    (target / "device_path").write_text(f"/dev/{disk}")
    assert rules(controller) == []
    (target / "enable").write_text("1")
    try:
        assert claimable(disk)
        (refusal,) = Safety().refusals(controller)
        # Nobody can see any more which disk it is: it may be any.
        with done(["umount", CONFIG], ["mount", "-t", "configfs", "none", CONFIG]):
            assert rules(controller) == ["exported"]
    finally:
        (target / "enable").write_text("0")
    expected = f"{disk} is under the export of the NVMe subsystem exported"
    assert (refusal.rule, refusal.reason) == ("exported", expected)
    assert rules(controller) == []


def test_who_only_looks_claims_no_disk(scratch):
    """Whoever mounts a disk in the moment of the look gets it."""
    controller, disk = scratch

    def holding(ready):
        descriptor = os.open(f"/dev/{disk}", os.O_RDONLY | os.O_EXCL)
        ready()
        os.close(descriptor)

    with forked(holding):
        taking = {each.rule for each in Safety().refusals(controller)}
        looking = {each.rule for each in Safety(claim=False).refusals(controller)}
    assert (taking, looking) == ({"claimed", "open"}, {"open"})


def test_a_route_with_several_ways(rules, card, shared, interface):
    """Of each interface that it leads out of; no address and no other route is on the first."""
    other = next((shared[1].path / "net").iterdir()).name
    for name in (interface, other):
        sh("ip", "link", "set", name, "up")
    ways = [f"nexthop dev {name} weight 1".split() for name in (interface, other)]
    route = ["198.51.100.0/24", *ways[0], *ways[1]]
    try:
        with done(["ip", "route", "add", *route], ["ip", "route", "del", "198.51.100.0/24"]):
            (refusal,) = Safety().refusals(card)
            assert rules(shared[1]) == ["route"]
        assert refusal.reason == f"{interface} has the route to 198.51.100.0/24"
    finally:
        for name in (interface, other):
            sh("ip", "link", "set", name, "down")
    assert rules(card) == []


def test_a_next_hop_that_no_route_has_yet():
    """The kernel takes one only where there is a carrier, which the cards of this guest lack."""
    hop = ["ip", "nexthop", "add", "id", 7, "dev", "lo"]
    with (
        done(["ip", "link", "set", "lo", "up"], ["ip", "link", "set", "lo", "down"]),
        done(hop, ["ip", "nexthop", "del", "id", 7]),
    ):
        found = [use.text for use in network.uses("lo")]
    assert "lo has the next hop 7 of routes" in found
    assert not any("next hop" in use.text for use in network.uses("lo"))


def test_an_interface_that_was_moved_into_another_network_namespace(rules, card, interface):
    back = ["ip", "-n", "other", "link", "set", interface, "netns", "1"]
    with (
        done(["ip", "netns", "add", "other"], ["ip", "netns", "del", "other"]),
        done(["ip", "link", "set", interface, "netns", "other"], back),
    ):
        assert not any((card.path / "net").iterdir())
        (refusal,) = Safety().refusals(card)
    assert refusal.rule == "namespace"
    assert refusal.reason == "it has an interface in another network namespace"
    assert rules(card) == []
