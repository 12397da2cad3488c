"""This file checks what the fixtures take of a machine that is not ours."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vfio_hw.errors import Unsupported
from vfio_hw.fixtures.devices import may_take, takeable
from vfio_hw.fixtures.machine import loaded_driver
from vfio_hw.host import modules
from vfio_hw.host.pci import PciFunction
from vfio_hw.plugin import IN_GUEST


@pytest.fixture
def two(tmp_path: Path) -> list[PciFunction]:
    """Two e1000e of a machine made of files."""
    for address in ("0000:00:04.0", "0000:00:05.0"):
        directory = tmp_path / "devices" / address
        directory.mkdir(parents=True)
        (directory / "vendor").write_text("0x8086\n")
        (directory / "device").write_text("0x10d3\n")
    return [PciFunction.at(address, tmp_path) for address in ("00:04.0", "00:05.0")]


def configured(*device: str) -> pytest.Config:
    return cast("Any", SimpleNamespace(option=SimpleNamespace(device=list(device))))


@pytest.mark.parametrize("guest", [False, True])
def test_only_what_is_named_may_be_taken(
    two: list[PciFunction], monkeypatch: pytest.MonkeyPatch, guest: bool
) -> None:
    monkeypatch.setenv(IN_GUEST, "1" if guest else "")
    config = configured("00:05.0")
    assert [may_take(config, function) for function in two] == [False, True]


@pytest.mark.parametrize("guest", [False, True])
def test_without_a_name_everything_in_a_guest_may_be_taken_and_nothing_elsewhere(
    two: list[PciFunction], monkeypatch: pytest.MonkeyPatch, guest: bool
) -> None:
    monkeypatch.setenv(IN_GUEST, "1" if guest else "")
    assert [may_take(configured(), function) for function in two] == [guest, guest]
    if not guest:
        with pytest.raises(Unsupported, match="--device"):
            takeable(configured(), "e1000e")


def test_a_driver_is_loaded_and_unloaded_in_a_guest_only(monkeypatch: pytest.MonkeyPatch) -> None:
    there, calls = [False], list[str]()
    monkeypatch.setattr(modules, "is_loaded", lambda _: there[0])
    monkeypatch.setattr(modules, "load", lambda name: calls.append(f"load {name}"))
    monkeypatch.setattr(modules, "unload", lambda name: calls.append(f"unload {name}"))
    monkeypatch.setenv(IN_GUEST, "")
    with pytest.raises(Unsupported, match="guest only"), loaded_driver("e1000e"):
        pass
    there[0] = True
    with loaded_driver("e1000e"):
        pass
    assert calls == []
    monkeypatch.setenv(IN_GUEST, "1")
    with loaded_driver("e1000e"):
        pass
    assert calls == []
    there[0] = False
    with loaded_driver("e1000e"):
        assert calls == ["load e1000e"]
    assert calls == ["load e1000e", "unload e1000e"]
