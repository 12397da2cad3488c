"""This file checks mdev types, modules and processes as read from trees that imitate sysfs."""

import os
from pathlib import Path

import pytest

from vfio_hw.errors import HarnessError, KernelSplat, Unsupported
from vfio_hw.host import mdev, modules, sysfs
from vfio_hw.host.process import process_state, stat_fields

UUID = "6f1d9e0a-8c47-4f3e-9a55-0c1f6f9b7d21"


@pytest.fixture
def kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> mdev.MdevType:
    directory = tmp_path / "mtty" / "mdev_supported_types" / "mtty-2"
    directory.mkdir(parents=True)
    values = {"name": "Dual port serial", "device_api": "vfio-pci", "available_instances": "12"}
    for name, value in values.items():
        (directory / name).write_text(f"{value}\n")
    (directory / "create").touch()
    monkeypatch.setattr(mdev, "CLASS", tmp_path)
    monkeypatch.setattr(mdev, "DEVICES", tmp_path / "devices")
    return mdev.MdevType(directory)


def test_types_are_found_with_what_they_offer(kind: mdev.MdevType) -> None:
    assert mdev.types() == mdev.types("mtty") == [kind] == [mdev.type_by_id("mtty-2")]
    assert mdev.types("other") == []
    assert (kind.id, kind.parent, kind.name) == ("mtty-2", "mtty", "Dual port serial")
    assert (kind.device_api, kind.available_instances) == ("vfio-pci", 12)


def test_a_type_nobody_offers_is_unsupported(kind: mdev.MdevType) -> None:
    with pytest.raises(Unsupported, match="no device offers the mdev type mdpy-xga"):
        mdev.type_by_id("mdpy-xga")


@pytest.mark.parametrize(
    ("guest", "loaded", "promised"), [("1", False, True), (None, True, True), (None, False, False)]
)
def test_what_nobody_has_loaded_is_promised_in_a_guest_only(
    kind: mdev.MdevType, monkeypatch: pytest.MonkeyPatch, guest: str, loaded: bool, promised: bool
) -> None:
    """Elsewhere who chooses what is loaded chooses what is tested; a module owes its types."""
    monkeypatch.setattr(modules, "is_loaded", lambda name: loaded)
    if guest:
        monkeypatch.setenv(modules.IN_GUEST, guest)
    else:
        monkeypatch.delenv(modules.IN_GUEST, raising=False)
    with pytest.raises(Unsupported) as raised:
        mdev.type_by_id("mdpy-xga")
    assert raised.value.option == ("CONFIG_SAMPLE_VFIO_MDEV_MDPY" if promised else None)


def test_creating_writes_the_uuid(kind: mdev.MdevType) -> None:
    assert kind.create(UUID.upper()).uuid == UUID
    assert (kind.path / "create").read_text() == UUID


@pytest.mark.parametrize("uuid", ["", "xyz", UUID + "0", UUID.replace("-", ""), f"{{{UUID}}}"])
def test_a_malformed_uuid_is_said_to_be_one(kind: mdev.MdevType, uuid: str) -> None:
    with pytest.raises(HarnessError, match="is not a UUID: write it as 8-4-4-4-12"):
        kind.create(uuid)
    assert (kind.path / "create").read_text() == ""


def test_created_removes_what_is_still_there(kind: mdev.MdevType) -> None:
    with mdev.created(kind, UUID) as device:
        device.path.mkdir(parents=True)
        (device.path / "remove").touch()
    assert (device.path / "remove").read_text() == "1"


def test_a_removal_that_is_refused_while_the_device_stays_is_told(kind: mdev.MdevType) -> None:
    expected = r"write of '1' on .*/remove: ENOENT"
    with pytest.raises(HarnessError, match=expected), mdev.created(kind, UUID) as device:
        device.path.mkdir(parents=True)


def test_a_removal_that_does_not_return_is_told(kind: mdev.MdevType) -> None:
    expected = rf"write of '1' to \S+/{UUID}/remove did not return within 0\.05 s"
    with (
        pytest.raises(KernelSplat, match=expected),
        mdev.created(kind, UUID, deadline=0.05) as device,
    ):
        device.path.mkdir(parents=True)
        os.mkfifo(device.path / "remove")


def test_created_removes_nothing_that_went(
    kind: mdev.MdevType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("a child was started"))
    with mdev.created(kind, UUID) as device:
        assert not device.exists


def test_references_are_counted_for_loaded_modules_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modules, "MODULES", tmp_path)
    (tmp_path / "vfio_pci" / "holders" / "other").mkdir(parents=True)
    (tmp_path / "vfio_pci" / "refcnt").write_text("3\n")
    (tmp_path / "built_in").mkdir()
    assert modules.references("vfio-pci") == 3
    assert modules.holders("vfio-pci") == ["other"]
    assert modules.is_loaded("vfio-pci") and modules.is_loaded("built_in")
    assert modules.references("built_in") is None
    assert not modules.is_loaded("absent") and modules.references("absent") is None


@pytest.mark.parametrize(
    ("script", "error", "text"),
    [
        (
            "echo modprobe: FATAL: Module absent not found >&2; exit 1",
            Unsupported,
            "no module absent",
        ),
        ("echo modprobe: ERROR: Invalid argument >&2; exit 1", HarnessError, "Invalid argument"),
        ("exec sleep 60", HarnessError, r"did not return within 0\.2 s"),
    ],
)
def test_what_modprobe_complains_of_is_passed_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    error: type[Exception],
    text: str,
) -> None:
    program = tmp_path / "modprobe"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(error, match=text):
        modules.load("absent", deadline=0.2)


def test_no_modprobe_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(modules, "_SBIN", "")
    with pytest.raises(HarnessError, match="install the package kmod"):
        modules.load("absent")


def test_the_name_of_a_process_may_hold_anything(tmp_path: Path) -> None:
    (tmp_path / "12").mkdir()
    (tmp_path / "12" / "stat").write_text("12 (a) b (c) D 1 12 12 0\n")
    (tmp_path / "12" / "wchan").write_text("sample_wait")
    assert stat_fields(12, tmp_path) == ("a) b (c", ["D", "1", "12", "12", "0"])
    state = process_state(12, tmp_path)
    assert (state.state, state.wchan) == ("D", "sample_wait")
    assert "waits in sample_wait\n(no kernel stack to be read)" in str(state)
    assert process_state(13, tmp_path).state == "X"


def test_a_write_without_rights_says_to_become_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    error = sysfs.refused(13, Path("/sys/bus/pci/drivers_probe"), "0000:00:04.0")
    assert str(error).endswith("was denied to user 1000: run it as root (sudo)")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "EACCES" in str(sysfs.refused(13, Path("/sys/bus/pci/drivers_probe"), "0000:00:04.0"))
