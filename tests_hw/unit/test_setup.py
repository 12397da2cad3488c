"""This file checks what scripts/setup says where it can not install what is missing."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
PRESENT = (
    "sh",
    "dirname",
    "readlink",
    "flock",
    "cat",
    "cut",
    "mktemp",
    "tail",
    "rm",
    "cc",
    "make",
    "bc",
)


@pytest.fixture
def poor(tmp_path):
    """Runs a copy of scripts/setup where only some programs are to be found."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in PRESENT:
        (programs / name).symlink_to(shutil.which(name))
    # Not what PATH finds: that may be a script which needs programs of its own.
    (programs / "python3").symlink_to(Path(sys.executable).resolve())
    (tmp_path / "scripts").mkdir()
    shutil.copy(SCRIPTS / "setup", tmp_path / "scripts")

    def run(**extra: str) -> subprocess.CompletedProcess[str]:
        for name, text in extra.items():
            program = programs / name.replace("_", "-")
            program.write_text(f"#!/bin/sh\n{text}\n")
            program.chmod(0o755)
        return subprocess.run(
            [programs / "sh", tmp_path / "scripts" / "setup"],
            env={"PATH": str(programs), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def test_without_apt_it_says_what_is_missing_and_why(poor):
    done = poor()
    assert done.returncode == 3
    assert "flex: builds kernels" in done.stdout
    assert "qemu-system-x86: boots the kernels under test" in done.stdout
    assert done.stderr.strip().splitlines() == [
        "setup: there is no apt-get here: install the above by hand, then start again"
    ]


def test_without_root_it_says_what_root_has_to_run(poor):
    done = poor(apt_get="exit 1", id="echo 1000")
    assert done.returncode == 3
    assert "installing them needs root: run 'apt-get install" in done.stderr
    assert " flex" in done.stderr


def test_an_apt_that_fails_is_told_with_its_last_words(poor):
    done = poor(apt_get="echo 'E: Could not get lock'; exit 100", id="echo 0")
    assert done.returncode == 3
    assert "E: Could not get lock" in done.stderr
    assert "apt-get could not install them" in done.stderr
