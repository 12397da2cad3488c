"""This file checks what the users of one machine share: nobody can turn it against the others."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests_hw.unit.users import USERS, as_root, as_user
from vfio_hw.errors import HarnessError
from vfio_hw.here import running
from vfio_hw.host import shared
from vfio_hw.host.lock import machine_locked
from vfio_hw.host.state import State

pytestmark = as_root


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory that all users see."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where it is, once somebody has made it."""
    monkeypatch.setattr(shared, "PLACE", tmp_path / "vfio-hw")
    return tmp_path / "vfio-hw"


def locked(tmp_path, user: int) -> str:
    """The user takes the machine's lock, with a state of his own."""
    home = tmp_path / f"home-{user}"
    home.mkdir(exist_ok=True)
    os.chown(home, user, user)
    home.chmod(0o700)

    def locks() -> str:
        state = State(home / "state")
        with machine_locked(state):
            return "locked"

    return as_user(user, locks)


def test_one_lock_is_for_all_users_whatever_the_umask(place, tmp_path):
    os.umask(old := os.umask(0))
    for mask in (0o777, old):
        os.umask(mask)
        try:
            state = State(tmp_path / "state")
            with machine_locked(state):
                said = locked(tmp_path, USERS[0])
                assert "the lock of this machine" in said and str(place / "lock") in said
            assert locked(tmp_path, USERS[0]) == "locked"
            state.close()
        finally:
            os.umask(old)


def test_without_root_each_user_has_a_lock_of_his_own(place, tmp_path):
    assert locked(tmp_path, USERS[0]) == "locked" and not place.exists()


def test_a_place_that_others_may_change_is_refused(place, tmp_path):
    for user in (0, USERS[0]):
        place.mkdir()
        os.chown(place, user, user)
        place.chmod(0o777)
        assert "is not root's alone" in locked(tmp_path, USERS[1])
        with pytest.raises(HarnessError, match="is not root's alone"):
            shared.lock()
        place.rmdir()
    place.symlink_to(tmp_path)
    with pytest.raises(OSError):
        shared.lock()


def test_a_user_puts_nothing_in_the_place_of_the_lock(place):
    descriptor, path = shared.lock() or (-1, place)
    os.close(descriptor)

    def writes() -> None:
        path.write_text("x")

    def replaces() -> None:
        path.unlink()

    for change in (writes, replaces):
        assert as_user(USERS[0], change).startswith("PermissionError")


def test_a_kernel_that_one_user_distrusts_nobody_tests(place, tmp_path):
    state = State(tmp_path / "state")
    shared.mark("made")
    (place / "marks/distrusted-0").unlink()
    as_user(USERS[0], lambda: shared.mark("a splat\nof mine"))
    said = f"user {USERS[0]} says: a splat\\nof mine"
    assert running.distrusted(state) == said
    assert as_user(USERS[1], shared.marks) == str([said])
    # Nobody takes it away but who has put it there, and root.
    mark = place / "marks" / f"distrusted-{USERS[0]}"
    assert as_user(USERS[1], mark.unlink).startswith("PermissionError")
    text = json.loads(mark.read_text())
    mark.write_text(json.dumps({**text, "boot": "another"}))
    assert running.distrusted(state) is None
    state.close()


def test_what_is_no_mark_of_its_user_is_none(place, tmp_path):
    shared.mark("made")
    marks = place / "marks"
    (marks / "distrusted-0").rename(tmp_path / "good")
    (marks / f"distrusted-{USERS[0]}").write_bytes((tmp_path / "good").read_bytes())
    (marks / "distrusted-1").symlink_to(tmp_path / "good")
    os.mkfifo(marks / "distrusted-2")
    (marks / "distrusted-0").hardlink_to(tmp_path / "good")
    (marks / "something").write_text("else")
    assert shared.marks() == []


def test_a_mark_is_not_written_through_what_another_has_planted(place, tmp_path):
    shared.mark("made")
    (tmp_path / "precious").write_text("precious")
    name = place / "marks" / f"distrusted-{USERS[0]}"
    as_user(USERS[1], lambda: name.symlink_to(tmp_path / "precious"))
    assert as_user(USERS[0], lambda: shared.mark("x")) == "None"
    shared.mark("root's")
    assert (tmp_path / "precious").read_text() == "precious" and shared.marks() == [
        "user 0 says: root's"
    ]
