"""This file checks that no ordinary user is given a race that only root can run."""

import os

import pytest

from vfio_hw.errors import Unsupported
from vfio_hw.race.actor import Actor
from vfio_hw.race.program import Memory, Slot, openat, syscall, write_file
from vfio_hw.race.scene import Scene, allowed

UNLOADS = syscall("delete_module", Memory(b"mtty\0"), os.O_NONBLOCK, decisive=True)
WRITES = write_file("/sys/bus/pci/drivers/vfio-pci/unbind", b"0000:00:04.0", decisive=True)
READS = (openat("/sys/kernel/iommu_groups", os.O_RDONLY, into=Slot("x"), decisive=True),)


def of(*steps) -> Scene:
    return Scene([], [Actor("user", list(steps))])


@pytest.mark.parametrize("steps", [(UNLOADS,), WRITES])
def test_what_is_root_s_is_no_outcome_of_a_user_s(monkeypatch, steps):
    """Denied, it would be one that is not legal, and so the kernel's fault."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(Unsupported, match=r"is not for user 1000: run it as root"):
        allowed(of(*steps))
    with pytest.raises(Unsupported):
        allowed(Scene([*steps], []))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert allowed(of(*steps)) == of(*steps)


def test_a_user_s_race_may_read(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert allowed(of(*READS)) == of(*READS)
