"""This file checks that doctor says what is wrong and what to do, on machines that lack things."""

import json
import shutil

import pytest

from vfio_hw.cli import main
from vfio_hw.host.state import VARIABLE


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Only these programs are there, and modprobe where it is."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "state"))
    monkeypatch.setenv("VFIO_HW_CACHE", str(tmp_path / "cache"))

    def only(*names: str) -> None:
        for name in names:
            found = shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/sbin")
            (directory / name).symlink_to(found or pytest.skip(f"there is no {name} here"))

    return only


@pytest.mark.parametrize(
    "there, check, remedy",
    [
        ([], "QEMU", "apt-get install qemu-system-x86"),
        (["qemu-system-x86_64"], "kernels", "apt-get install gcc"),
    ],
)
def test_what_a_guest_needs_and_is_not_installed(programs, capsys, there, check, remedy):
    """It is one line among the others, and the exit status."""
    programs(*there)
    assert main(["doctor", "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert told["possible"]["guest"] is False
    (wrong,) = (each for each in told["checks"] if each["verdict"] == "no guest")
    assert (wrong["name"], wrong["remedy"]) == (check, remedy)
    assert {each["name"] for each in told["checks"]} >= {"user", "IOMMU", "devices", "kernel log"}


def test_the_last_lines_say_what_to_run_or_where_to_look(programs, capsys):
    programs()
    main(["doctor"])
    *checks, guest, _ = capsys.readouterr().out.splitlines()
    assert guest == "a run in a guest is not possible: see the lines that begin with 'no guest'"
    assert any(line.startswith("no guest") for line in checks)
