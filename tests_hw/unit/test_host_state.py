"""This file checks that nobody else's file or directory is taken for the harness's own memory."""

import os
from pathlib import Path

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.host.lock import VARIABLE, descriptor, inherited, machine_locked
from vfio_hw.host.state import State


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_it_is_made_for_us_alone(place):
    os.umask(old := os.umask(0))
    os.umask(0)
    try:
        State(place).close()
    finally:
        os.umask(old)
    assert place.stat().st_mode & 0o777 == 0o700


def test_a_symlink_is_refused(place, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HarnessError, match="is a symlink or no directory"):
        State(place)


def test_one_that_others_may_write_to_is_refused(place):
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    with pytest.raises(HarnessError, match="can not be trusted"):
        State(place)


def test_one_in_a_directory_that_others_may_write_to_is_refused(place, tmp_path):
    tmp_path.chmod(0o777)
    with pytest.raises(HarnessError, match="others may change what is in"):
        State(place)
    # As in /tmp: others can not take it away there.
    tmp_path.chmod(0o1777)
    State(place).close()


def test_a_file_that_is_a_link_is_not_followed(place, tmp_path):
    state = State(place)
    (tmp_path / "precious").write_text("precious")
    (place / "running").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError):
        state.text("running")
    (place / "running.new").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError):
        state.replace("running", "harmful")
    (place / "hard").hardlink_to(tmp_path / "precious")
    with pytest.raises(HarnessError, match="is not a file of ours"):
        state.text("hard")
    os.mkfifo(place / "fifo", 0o600)
    with pytest.raises(HarnessError, match="is not a file of ours"):
        state.text("fifo")
    assert (tmp_path / "precious").read_text() == "precious"
    state.close()


def test_a_file_is_replaced_whole(place):
    state = State(place)
    assert state.text("running") is None
    state.replace("running", "first")
    state.replace("running", "second")
    assert (state.text("running"), state.names()) == ("second", ["running"])
    state.remove("running")
    state.remove("running")
    assert state.names() == []
    state.close()


def test_the_lock_outlives_its_holder_as_long_as_a_child_has_it(place):
    state = State(place)
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        with machine_locked(State(place)):
            child = os.fork()
            if child == 0:
                os.close(writer)
                os.read(reader, 1)
            os._exit(0)
    os.waitpid(parent, 0)
    with pytest.raises(HarnessError, match=r"is held by pid \d+ \("), machine_locked(state, 0.2):
        pass
    os.close(writer)
    with machine_locked(state, 10.0):
        pass
    os.close(reader)
    state.close()


def in_a_child(do) -> bool:
    """Whether it returns, in a fork, and raises nothing of ours."""
    child = os.fork()
    if child == 0:
        try:
            do()
        except HarnessError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def test_a_child_that_was_given_the_lock_has_it(place, monkeypatch):
    state = State(place)

    def locks() -> None:
        with machine_locked(state):
            pass

    with machine_locked(state):
        assert not in_a_child(locks)
        monkeypatch.setenv(VARIABLE, str(descriptor()))
        assert in_a_child(locks)
    state.close()


@pytest.mark.parametrize(
    "text",
    ["", "x", "-1", "99999", "9999999999", pytest.param("9" * 5000, id="long"), "{}", "{own}"],
)
def test_the_environment_alone_gives_nobody_the_lock(place, monkeypatch, text):
    """Neither while nobody has it, nor a file of it that was opened apart."""
    state = State(place)
    os.close(state.open("lock", os.O_RDWR | os.O_CREAT))
    own = os.open(place / "lock", os.O_RDONLY)
    monkeypatch.setenv(VARIABLE, text.format(0, own=own))
    assert inherited(state) is None
    with machine_locked(state):
        assert in_a_child(lambda: None) and inherited(state) is None
        assert not in_a_child(lambda: machine_locked(state).__enter__())
    os.close(own)
    state.close()
