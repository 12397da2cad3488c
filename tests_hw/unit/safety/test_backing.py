"""This file checks which node a loop device or an export is found to stand on."""

from pathlib import Path

import pytest


@pytest.fixture
def loop(tree):
    """A loop device on what the kernel names so; its node can not be asked."""

    def on(path: str) -> None:
        tree.disk()
        directory = tree.root / "sys/class/block/loop0"
        (directory / "loop").mkdir(parents=True)
        (directory / "dev").write_text("7:0\n")
        (directory / "loop/backing_file").write_text(f"{path}\n")

    return on


def write(directory: Path, **attributes: str) -> None:
    directory.mkdir(parents=True)
    for name, text in attributes.items():
        (directory / name).write_text(f"{text}\n")


@pytest.mark.parametrize("path", ["/dev/nvme0n1", "/dev/nvme0n1 (deleted)"])
def test_who_may_not_ask_a_loop_device_goes_by_its_path(tree, loop, path):
    loop(path)
    assert [str(each) for each in tree.refusals()] == [
        "0000:03:00.0: nvme0n1 is under the loop device loop0 [loop]: detach the loop device, with"
        " losetup -d",
        "0000:03:00.0: loop0 can not be looked at (No such file or directory) [unread]: look as"
        " root, and see that the disk answers",
    ]


def test_what_a_loop_device_stands_on_and_nobody_can_see_may_be_any_disk(tree, loop):
    loop("/data/image (deleted)")
    refusal, _ = tree.refusals()
    expected = "nvme0n1 may be under the loop device loop0 /data/image (deleted)"
    assert (refusal.rule, refusal.reason) == ("loop", expected)


def test_a_loop_device_on_a_file_is_no_disk_s(tree, loop):
    (tree.root / "data").write_bytes(b"")
    loop("/data")
    assert tree.rules() == []


@pytest.mark.parametrize("enable, rules", [("1", ["exported"]), ("0", [])])
def test_a_namespace_of_an_nvme_target(tree, enable, rules):
    tree.disk()
    space = tree.root / "sys/kernel/config/nvmet/subsystems/far/namespaces/1"
    write(space, enable=enable, device_path="/dev/nvme0n1")
    assert tree.rules() == rules


def test_a_controller_that_is_passed_through(tree):
    """The whole of it, by its character device."""
    tree.disk()
    tree.below("nvme/nvme0/nvme0", "nvme", "241:0")
    write(
        tree.root / "sys/kernel/config/nvmet/subsystems/far/passthru",
        enable="1",
        device_path="/dev/char",
    )
    assert tree.rules() == ["exported"]
    (tree.root / "dev/char").symlink_to("/dev/null")
    assert tree.rules() == []
    (tree.function / "nvme/nvme0/nvme0/dev").write_text("1:3\n")
    (refusal,) = tree.refusals()
    assert refusal.reason == "nvme0 is under the export of the NVMe subsystem far"


@pytest.mark.parametrize(
    "plugin, info",
    [
        ("iblock_0", "iBlock device: nvme0n1  UDEV PATH: /dev/nvme0n1  readonly: 0"),
        ("fileio_0", "TCM FILEIO ID: 0        File: /dev/nvme0n1  Size: 2097152  Mode: O_DSYNC"),
    ],
)
def test_a_disk_of_a_scsi_target(tree, plugin, info):
    tree.disk()
    directory = tree.root / "sys/kernel/config/target/core" / plugin / "store"
    write(directory, enable="1", info=f"Status: ACTIVATED\n{info}")
    (refusal,) = tree.refusals()
    expected = f"nvme0n1 is under the export of the SCSI target {plugin}/store"
    assert (refusal.rule, refusal.reason) == ("exported", expected)
    (directory / "enable").write_text("0\n")
    assert tree.rules() == []


def test_exports_that_can_not_be_seen_may_be_of_any_disk(tree):
    tree.disk()
    (tree.root / "sys/module/nvmet").mkdir(parents=True)
    (refusal,) = tree.refusals()
    assert refusal.rule == "exported" and "configfs is not mounted" in refusal.reason
    (tree.root / "sys/kernel/config/nvmet/subsystems").mkdir(parents=True)
    assert tree.rules() == []
