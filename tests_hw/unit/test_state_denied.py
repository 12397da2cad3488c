"""This file checks what a user is told whom the directory of state is not open to, and doctor."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests_hw.unit.users import as_ordinary
from vfio_hw.here.leftovers import leftovers
from vfio_hw.host.state import VARIABLE, State

REMEDY = f"): be root (sudo), or name another directory in {VARIABLE}"


@pytest.fixture
def place(monkeypatch) -> Iterator[Path]:
    """A directory that all users see; in ``kept``, which is there, the state is to be."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        monkeypatch.setenv(VARIABLE, str(path / "kept/state"))
        (path / "kept").mkdir(mode=0o755)
        yield path
        (path / "kept").chmod(0o700)


def closed_itself(place: Path) -> Path:
    (place / "kept/state").mkdir(mode=0)
    return place / "kept/state"


def closed_above(place: Path) -> Path:
    (place / "kept/state").mkdir(mode=0o700)
    (place / "kept").chmod(0)
    return place / "kept/state"


def not_to_be_made(place: Path) -> Path:
    (place / "kept").chmod(0o555)
    return place / "kept/state"


@pytest.mark.parametrize("closed", [closed_itself, closed_above, not_to_be_made])
def test_it_is_said_what_is_denied_and_what_to_do(place, closed):
    path = closed(place)
    told = as_ordinary(State)
    assert told.startswith(f"HarnessError: {path} is not open to user "), told
    assert told.endswith(f" (Permission denied{REMEDY}"), told


@pytest.mark.parametrize("closed", [closed_itself, closed_above])
def test_doctor_says_so_in_a_line(place, closed):
    path = closed(place)

    def lines() -> str:
        return "; ".join(f"{each.verdict}: {each.name}: {each.reason}" for each in leftovers())

    told = as_ordinary(lines)
    assert told.startswith(f"not here: leftovers: {path} is not open to user "), told
    assert told.endswith(f" (Permission denied{REMEDY}"), told


def test_what_is_no_directory_is_said_to_be_none_and_nothing_else_is(place, monkeypatch):
    (place / "kept/state").write_text("")
    assert "is a symlink or no directory" in as_ordinary(State)

    def exhausted(*arguments, **keywords):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", exhausted)
        with pytest.raises(OSError, match="Too many open files"):
            State()
