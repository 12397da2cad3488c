"""Tests that runs on the machine `host` are given, as a file of tests_hw/pci."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from vfio_hw.host.binding import bound_to
from vfio_hw.host.descendants import descendants
from vfio_hw.host.journals import ENDING
from vfio_hw.host.safety import group_of
from vfio_hw.host.state import directory
from vfio_hw.vfio.opened import opened


def test_quick(edu):
    assert edu.driver == "vfio-pci"
    assert (directory() / "running").read_text().count("test_quick") == 1
    # What the run has taken, and what this test changes.
    assert len(list(directory().glob("*" + ENDING))) == 2


def test_stays(edu):
    Path("/tmp/stays").write_text(str(os.getpid()))
    time.sleep(3600)


@pytest.fixture
def lingers(edu):
    yield
    Path("/tmp/lingers").touch()
    time.sleep(5)


def test_lingers(lingers):
    Path("/tmp/stays").write_text(str(os.getpid()))
    time.sleep(3600)


def test_whole(edu):
    assert {each.driver for each in group_of(edu)} == {"vfio-pci"}
    with opened(edu.path, "vfio_type1v2_iommu") as user:
        assert user.device.info()


def test_comes_back(e1000e):
    with bound_to(e1000e, "e1000e"):
        name = next(each.name for each in descendants(e1000e.path) if each.subsystem == "net")
        subprocess.run(["ip", "address", "add", "192.0.2.1/24", "dev", name], check=True)


def test_warns(edu):
    Path("/sys/kernel/debug/provoke-crash/DIRECT").write_text("WARNING")


def test_after(edu):
    Path("/tmp/after").touch()
