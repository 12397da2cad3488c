"""This file checks that machine descriptions are read, and bad ones refused in a sentence."""

import re
from pathlib import Path

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.vm import topology as module
from vfio_hw.vm.topology import topologies, topology


def test_every_machine_that_is_shipped_can_be_read():
    names = topologies()
    assert "intel-iommu" in names
    for name in names:
        machine = topology(name)
        assert machine.devices
        assert machine.description


def test_an_unknown_machine_is_refused_with_the_known_ones():
    with pytest.raises(HarnessError, match=r"no machine named 'vax'.*intel-iommu"):
        topology("vax")


@pytest.mark.parametrize("text", ["machine = ", 'machine = "q35"\n'])
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
