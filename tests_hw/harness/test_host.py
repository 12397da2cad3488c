"""This file boots the machine `host` and runs there the tests of what is done to a real machine."""

import subprocess
import sys
from pathlib import Path

import pytest

from vfio_hw.vm.machine import Deadlines, Ending, Guest, run
from vfio_hw.vm.topology import topology

PROJECT = Path(__file__).parents[2]
TESTS = sorted(path.name for path in (PROJECT / "tests_hw/host").glob("test_*.py"))


@pytest.fixture
def machine(kernel, tmp_path):
    """Makes such a guest; its disks outlive it."""

    def make(*argv: str, **environment: str) -> Guest:
        return Guest(
            image=kernel.image,
            modules=kernel.modules,
            topology=topology("host"),
            argv=argv,
            cwd=PROJECT,
            environment={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": "/root",
                "LANG": "C.UTF-8",
                "VFIO_HW_GUEST": "1",
                **environment,
            },
            images=tmp_path / "images",
        )

    return make


@pytest.fixture
def udev(tmp_path) -> Path:
    """udev's programs, installed here or unpacked from its package: containers have none."""
    if Path("/lib/systemd/systemd-udevd").exists():
        return Path("/")
    subprocess.run(["apt-get", "download", "udev"], cwd=tmp_path, check=True, timeout=120)
    (package,) = tmp_path.glob("udev_*.deb")
    subprocess.run(["dpkg-deb", "-x", package, tmp_path / "udev"], check=True, timeout=120)
    return tmp_path / "udev"


@pytest.mark.parametrize("name", TESTS)
def test_on_a_machine_of_its_own(machine, udev, tmp_path, name):
    """None is skipped: the machine has everything that they need."""
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--color=no"]
    said = bytearray()
    ended = run(
        machine(*argv, f"tests_hw/host/{name}", VFIO_HW_TEST_UDEV=str(udev)),
        tmp_path / "out",
        deadlines=Deadlines(whole=900.0),
        on_output=said.extend,
    )
    text = said.decode(errors="replace")
    assert (ended.ending, ended.status) == (Ending.EXITED, 0), f"{ended.text}\n{text}"
    assert " passed" in text and " skipped" not in text, text
