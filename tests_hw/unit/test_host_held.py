"""This file checks who is said to have a device open, and which bus is looked at anew."""

import pytest

from vfio_hw.host.held import holders
from vfio_hw.host.openers import Opening, openings
from vfio_hw.host.target import Target, function_of


@pytest.fixture
def device(tmp_path):
    path = tmp_path / "devices/0000:00:05.0"
    (path / "vfio-dev/vfio7").mkdir(parents=True)
    (path / "driver").symlink_to("../../drivers/vfio-pci")
    (path / "iommu_group").symlink_to("../../groups/12")
    return path


def descriptor(pid: int, device: str = "") -> Opening:
    return Opening(pid, "qemu", "a VFIO device", None, True, device)


def node(pid: int, what: str) -> Opening:
    return Opening(pid, "qemu", what, ("c", 240, 1))


def test_who_says_which_device_it_is(device):
    opened = [descriptor(7, str(device.resolve())), descriptor(8, "/sys/devices/other")]
    assert [each.pid for each in holders(device, opened)] == [7]


@pytest.mark.parametrize(
    "what",
    ["/dev/vfio/12", "/dev/vfio/12 (deleted)", "/dev/vfio/noiommu-12", "/dev/vfio/devices/vfio7"],
)
def test_who_has_its_node_open(device, what):
    assert [each.pid for each in holders(device, [node(7, what)])] == [7]


def test_who_does_not_say_has_that_whose_group_it_has(device):
    theirs = [node(7, "/dev/vfio/12"), descriptor(7), node(8, "/dev/vfio/13"), descriptor(8)]
    passed_on = [node(9, "/dev/vfio/vfio"), descriptor(9)]
    assert [each.pid for each in holders(device, theirs + passed_on)] == [7, 9]


def test_a_mapping_is_of_the_device_that_is_open_beside_it(device):
    mapping = Opening(8, "qemu", "a mapping of a VFIO device", None, True)
    assert holders(device, [descriptor(8, "/sys/devices/other"), mapping]) == []


@pytest.fixture
def by_kvm(tmp_path):
    """What a process has open that has closed a device, and KVM has not."""
    fds = tmp_path / "proc/8/fd"
    fds.mkdir(parents=True)
    (fds.parent / "stat").write_text("8 (qemu) S 1 1\n")
    (fds / "9").symlink_to("anon_inode:kvm-vfio")
    (fds / "anon_inode:kvm-vfio").touch()
    return openings(tmp_path)[0]


def test_who_has_closed_it_has_it_while_kvm_does(device, by_kvm):
    assert [str(each) for each in by_kvm] == ["pid 8 (qemu): KVM's device for VFIO"]
    assert holders(device, by_kvm) == by_kvm


@pytest.mark.parametrize("enabled, held", [("1", True), ("0", False)])
def test_also_who_has_another_one_open_where_the_kernel_says_that_somebody_does(
    device, by_kvm, enabled, held
):
    """A virtual machine on that one is no hindrance else."""
    other = descriptor(8, "/sys/devices/other")
    (device / "enable").write_text(f"{enabled}\n")
    assert holders(device, [*by_kvm, other]) == (by_kvm if held else [])
    assert [each.pid for each in holders(device, [*by_kvm, other, node(7, "/dev/vfio/12")])] == [7]


def test_who_reads_sysfs_holds_nothing(device):
    assert holders(device, [Opening(8, "lspci", f"{device.resolve()}/config")]) == []


def test_without_a_vfio_driver_nobody_unknown_holds_it(device):
    (device / "driver").unlink()
    (device / "driver").symlink_to("../../drivers/e1000e")
    assert holders(device, [descriptor(9)]) == []


@pytest.mark.parametrize(
    "kind, name, function",
    [
        ("driver", "0000:00:05.0", "0000:00:05.0"),
        ("attribute", "/sys/devices/pci0000:00/0000:00:05.0/power/control", "0000:00:05.0"),
        ("attribute", "/sys/devices/pci0000:00/0000:00:05.0/driver_override", "0000:00:05.0"),
        ("attribute", "/sys/module/vfio/parameters/x", None),
        ("present", "0000:00:05.0", None),
        ("mdev", "6f1c0f2e-0000-4000-8000-000000000000", None),
    ],
)
def test_the_function_that_a_change_is_of(kind, name, function):
    assert function_of(Target(kind, name)) == function
