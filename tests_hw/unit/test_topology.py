"""This file checks that machine descriptions are read, and bad ones refused in a sentence."""

import argparse
import re
from collections import Counter
from pathlib import Path

import pytest

from vfio_hw import guest
from vfio_hw.errors import HarnessError
from vfio_hw.vm import qemu
from vfio_hw.vm import topology as module
from vfio_hw.vm.topology import topologies, topology


def test_every_machine_that_is_shipped_can_be_read():
    names = topologies()
    assert "intel-iommu" in names
    for name in names:
        machine = topology(name)
        assert machine.devices
        assert machine.description


def test_every_machine_says_what_a_kernel_must_show_of_its_devices():
    """All of a kind: one more or less is a kernel's fault, or the description's."""
    for name in topologies():
        machine, shows = topology(name), topology(name).shows
        words = Counter(device.partition(",")[0] for device in machine.devices)
        assert shows.devices, name
        assert shows.devices == {word: words[word] for word in shows.devices}, name
        iommus = {word for word in words if "iommu" in word}
        assert {shows.iommu} - {""} == {word.removesuffix("-pci") for word in iommus}, name
        assert bool(shows.groups) == bool(shows.iommu) != bool(shows.unguarded), name
        assert {*shows.virtual_functions, *shows.ats} <= set(shows.devices), name


def test_an_unknown_machine_is_refused_with_the_known_ones():
    with pytest.raises(HarnessError, match=r"no machine named 'vax'.*intel-iommu"):
        topology("vax")


_WHOLE = 'description = ""\nmachine = "q35"\ndevices = []\n'


@pytest.mark.parametrize(
    "text", ["machine = ", 'machine = "q35"\n', _WHOLE, _WHOLE + "[shows]\nedu = 1\n"]
)
def test_a_file_that_says_too_little_is_refused_by_name(tmp_path, monkeypatch, text):
    (tmp_path / "half.toml").write_text(text)
    monkeypatch.setattr(module, "_DIRECTORY", tmp_path)
    with pytest.raises(HarnessError, match=r"half\.toml"):
        topology("half")


def test_a_machine_that_a_test_is_for_is_there():
    tests = Path(__file__).parents[1].glob("*/test_*.py")
    named = {
        name
        for path in tests
        for name in re.findall(r'mark\.machine\("([^"]+)"\)', path.read_text())
    }
    assert named
    assert named <= set(topologies())


def test_every_image_that_a_machine_names_has_a_device_and_every_device_its_image():
    for name in topologies():
        machine = topology(name)
        named = {*machine.disks, *machine.memories}
        words = [word for device in machine.devices for word in device.split(",")]
        used = {word.partition("=")[2] for word in words if word.startswith(("drive=", "memdev="))}
        assert used == named, name


def test_disks_and_memories_come_before_the_devices_that_use_them():
    machine = topology("host")
    images = {name: Path(f"/images/{name}") for name in (*machine.disks, *machine.memories)}
    line = qemu.command_line(
        image=Path("bzImage"),
        initramfs=Path("initramfs"),
        topology=machine,
        ports=[],
        monitor=3,
        requests=4,
        accelerator="tcg",
        cpus=2,
        memory="2G",
        images=images,
    )
    drive = next(word for word in line if word.startswith("if=none,id=journal,"))
    assert "file=/images/journal," in drive
    memory = next(word for word in line if word.startswith("memory-backend-file,id=erst,"))
    assert "size=128K,mem-path=/images/erst,share=on" in memory
    for image, device in ((drive, "drive=journal"), (memory, "memdev=erst")):
        assert line.index(image) < next(at for at, word in enumerate(line) if device in word)


@pytest.mark.parametrize("text", ["0G", "2G,maxmem=4G", "two", "2GG", "-1M", ""])
def test_a_memory_is_a_size_and_no_option_of_qemu(text):
    with pytest.raises(argparse.ArgumentTypeError, match="give a size"):
        guest.memory(text)
    assert (guest.memory("512M"), guest.memory("2G")) == ("512M", "2G")
