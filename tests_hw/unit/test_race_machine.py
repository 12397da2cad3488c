"""`vfio-hw race` boots the machine that the pair can be on, and no other."""

import argparse

import pytest

from vfio_hw import cli, run
from vfio_hw.run import USAGE


@pytest.fixture
def ran(monkeypatch) -> list[argparse.Namespace]:
    """What `run` is asked for, instead of doing it."""
    asked: list[argparse.Namespace] = []

    def keep(args: argparse.Namespace) -> int:
        asked.append(args)
        return 0

    monkeypatch.setattr(run, "run", keep)
    return asked


@pytest.mark.parametrize(
    ("words", "machine"),
    [
        ("open_group hot_unplug", "hot-plug"),
        ("open_group virtual_function_removed", "sr-iov"),
        ("open_group hot_unplug --machine hot-plug", "hot-plug"),
        ("open_group mdev_remove", "intel-iommu"),
        ("open_group mdev_remove --machine amd-iommu", "amd-iommu"),
    ],
)
def test_the_machine_is_the_pairs(ran, words, machine):
    assert cli.main(["race", *words.split()]) == 0
    assert [each.machine for each in ran] == [machine]


def test_another_machine_is_refused(ran, capsys):
    assert cli.main(["race", "open_group", "hot_unplug", "--machine", "intel-iommu"]) == USAGE
    said = capsys.readouterr().err
    assert "hot_unplug can be on the machine hot-plug only: leave --machine intel-iommu out" in said
    assert not ran
