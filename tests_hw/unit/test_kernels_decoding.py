"""This file checks what is said of decoding a trace."""

import shlex
from pathlib import Path

import pytest

from tests_hw.unit.test_kernels_tree import write_image, write_modules
from vfio_hw.vm.kernels import config, decoding, tree
from vfio_hw.vm.kernels.store import Kernel

CONSOLE = Path("/results/guest 1/console.log")


@pytest.fixture
def kernel(tmp_path):
    objects = tmp_path / "objects"
    (tmp_path / "linux" / "scripts").mkdir(parents=True)
    objects.mkdir()
    (objects / "source").symlink_to(tmp_path / "linux")
    (objects / "vmlinux").touch()
    (objects / ".config").write_text("CONFIG_DEBUG_INFO=y\n")
    image = objects / "bzImage"
    return Kernel("latest", "7.3.4", image, objects, None, None, objects, objects)


def test_the_command_names_the_script_the_vmlinux_and_the_console(kernel, tmp_path):
    said = decoding.advice(kernel, CONSOLE)
    script, vmlinux, base, modules, _, console = shlex.split(said.partition(": ")[2])
    assert script == str(tmp_path / "linux" / "scripts" / "decode_stacktrace.sh")
    assert vmlinux == str(kernel.objects / "vmlinux")
    assert base == modules == str(kernel.objects)
    assert console == str(CONSOLE)


def test_without_debug_information_it_says_what_to_build(kernel):
    (kernel.objects / ".config").write_text("# CONFIG_DEBUG_INFO is not set\n")
    assert "CONFIG_DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT=y" in decoding.advice(kernel, CONSOLE)


def test_without_a_vmlinux_there_is_no_command(kernel):
    (kernel.objects / "vmlinux").unlink()
    assert "build the kernel again" in decoding.advice(kernel, CONSOLE)
    image_alone = Kernel("x", "7", kernel.image, kernel.modules, None, None, kernel.directory)
    assert "is not known here" in decoding.advice(image_alone, CONSOLE)


def test_a_commit_s_image_has_its_objects_until_another_is_built_there(kernel, tmp_path):
    built = kernel.objects / "arch" / "x86" / "boot" / "bzImage"
    built.parent.mkdir(parents=True)
    write_image(built, "7.3.4")
    installed = tmp_path / "installed"
    write_image(installed / "bzImage", "7.3.4")
    write_modules(installed / "lib" / "modules" / "7.3.4")
    (installed / "objects").symlink_to(kernel.objects)
    found = tree.resolve(str(installed / "bzImage"), installed, print)
    assert str(kernel.objects / "vmlinux") in decoding.advice(found, CONSOLE)
    built.write_bytes(built.read_bytes() + b"of another commit")
    found = tree.resolve(str(installed / "bzImage"), installed, print)
    assert "is not known here" in decoding.advice(found, CONSOLE)


def test_the_debug_kernel_has_what_decodes_a_trace():
    name, _, value = decoding._WANTED.partition("=")
    assert config.parse(config.read(["base", "debug"]))[name].value == value
    assert not any("DEBUG_INFO" in option for option in config.parse(config.read(["base"])))
