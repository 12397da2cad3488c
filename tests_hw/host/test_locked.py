"""This file checks that a function whose lock the kernel keeps holds up nobody who looks at it.

An unbind has the lock until the last descriptor of the function is closed, and who reads how many
virtual functions it has waits for the lock. Source: sriov_numvfs_show(), drivers/pci/iov.c.
"""

import subprocess
import time

import pytest

from tests_hw.host.test_giving_back import holding, until
from vfio_hw.host import restore, sysfs
from vfio_hw.host.binding import rebind, set_driver_override
from vfio_hw.host.forked import forked
from vfio_hw.host.held import Held
from vfio_hw.host.writer import unfinished

_SOON = 60.0  # seconds, for a few reads that are not answered, on a busy machine


@pytest.fixture
def physical(command, before, life, edu):
    """Bound by vfio-hw bind, with the edu; its virtual functions are gone, and back in the end."""
    function = life.controller_with_virtual_functions()
    sysfs.write(function.path / "sriov_numvfs", "2")
    assert command("bind", function, edu)[0] == 0
    yield function
    until(lambda: not list(unfinished()))
    rebind(function, "nvme")
    set_driver_override(function, None)
    command("restore")
    sysfs.write(function.path / "sriov_numvfs", "0")


@pytest.fixture
def locked(physical):
    """Somebody has it open, and an administrator's unbind waits for him."""
    with forked(holding(physical, "vfio_type1v2_iommu")) as pid:
        unbind = f"echo {physical} >/sys/bus/pci/drivers/vfio-pci/unbind"
        writer = subprocess.Popen(["sh", "-c", unbind])
        until(lambda: physical.driver is None)
        yield pid
    writer.wait(_SOON)


@pytest.fixture
def soon(command):
    """The command, which comes back."""

    def run(*words):
        began = time.monotonic()
        status, said = command(*words)
        assert time.monotonic() - began < _SOON, said
        return status, said

    return run


def test_who_looks_at_a_locked_function_is_told_of_it(soon, physical, locked):
    status, said = soon("list")
    assert status == 0 and f"{physical}  " in said
    assert f"  {physical}  " in soon("doctor", "--here")[1]
    for words in (["restore", "--dry-run"], ["unbind", physical, "--dry-run"], ["restore"]):
        status, said = soon(*words)
        assert status == 3, said
        if words[0] == "restore":
            assert "/sriov_numvfs did not return within 10 s: a probe or an unbind has" in said
        assert f"pid {locked} (" in said, said
    assert not [each for each in unfinished() if each.state != "D"]


def test_a_locked_function_whose_holder_is_not_seen(soon, before, edu, locked, monkeypatch):
    """And the others are given back: nothing waits for this one longer than it was told to."""
    monkeypatch.setattr(restore, "_DEADLINE", 3.0)
    monkeypatch.setattr(Held, "target", lambda held, target: [])
    status, said = soon("restore")
    assert status == 3 and f"restored  {edu} driver" in said, said
    assert "/sriov_numvfs did not return within 10 s" in said, said
    assert "write of " in said and edu.driver is None, said
