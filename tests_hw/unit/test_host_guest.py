"""This file checks that no environment alone makes a machine a guest of ours."""

import os

import pytest

from vfio_hw.host import guest
from vfio_hw.host.modules import IN_GUEST


@pytest.mark.parametrize(
    ("line", "believed"),
    [
        ("console=ttyS0 vfio-hw.guest oops=panic\n", True),
        ("console=ttyS0\n", False),
        ("vfio-hw.guests=1 x=vfio-hw.guest\n", False),
    ],
)
def test_it_is_one_where_its_kernel_says_so_too(tmp_path, monkeypatch, line, believed):
    (tmp_path / "cmdline").write_text(line)
    monkeypatch.setattr(guest, "_COMMAND_LINE", tmp_path / "cmdline")
    monkeypatch.setenv(IN_GUEST, "1")
    guest.disbelieve()
    assert (IN_GUEST in os.environ) == believed
    monkeypatch.delenv(IN_GUEST, raising=False)
    guest.disbelieve()
    assert IN_GUEST not in os.environ, "a guest whose environment does not say so is none"
