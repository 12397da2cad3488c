"""This file checks that one test at a time has a device, whichever user's, and who that is."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests_hw.unit.users import USERS, as_root, as_user
from vfio_hw.errors import HarnessError
from vfio_hw.host import flock, lock, shared
from vfio_hw.host.forked import forked
from vfio_hw.host.lock import device_locked, machine_locked
from vfio_hw.host.state import State
from vfio_hw.oracle.look.process import descriptors

# One that every machine has, and every user sees.
DEVICE = Path("/sys/devices/virtual/mem/null")


@pytest.fixture
def place(monkeypatch) -> Iterator[Path]:
    """A directory that all users see; root has made no place there that they share."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        monkeypatch.setattr(shared, "PLACE", path / "nowhere/vfio-hw")
        yield path


@pytest.fixture
def device(place) -> Path:
    (place / "devices/0000:00:04.0").mkdir(parents=True)
    (place / "0000:00:04.0").symlink_to("devices/0000:00:04.0")
    return place / "0000:00:04.0"


def taken(device: Path, directory: Path, patience: float = 0.0) -> str:
    """Another process, which has this state, takes the device; "taken", or what it is told."""
    child = os.fork()
    words = directory.with_name("said")
    if child == 0:
        lock._devices.clear()  # as one that has inherited nothing
        try:
            words.write_text(had(device, directory, patience))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return words.read_text()


def had(device: Path, directory: Path, patience: float = 0.0) -> str:
    try:
        with machine_locked(State(directory)), device_locked(device, patience):
            return "taken"
    except HarnessError as error:
        return str(error)


def test_in_a_guest_nothing_is_locked(place, device):
    """Nobody has the machine's lock there."""
    state = State(place / "state")
    with device_locked(device, 0.0):
        assert state.names() == [] and taken(device, place / "other") == "taken"
    state.close()


def test_a_device_is_one_process_s_at_a_time(place, device):
    """Each has a directory of state of its own; nested it is one and the same."""
    with machine_locked(State(place / "state")), device_locked(device, 0.0):
        with device_locked(device, 0.0):
            pass
        said = taken(device, place / "other")
        assert said.startswith(f"the lock of {device.name}, {device}, is held by pid {os.getpid()}")
        assert lock.used() == [device.name]
    assert taken(device, place / "other") == "taken"


def test_one_that_has_left_and_come_back_is_its_user_s_still(place, device):
    """By the file in his directory of state, which any run of his opens anew, as this one does."""
    state = State(place / "state")
    with machine_locked(state), device_locked(device, 0.0):
        (place / "devices").rename(place / "left")
        for back in (False, True):
            if back:
                device.resolve().mkdir(parents=True)
            lock._devices.clear()
            with pytest.raises(HarnessError, match=f"the lock of {device.name} is held by"):
                lock.device_locked(device, 0.0).__enter__()
    state.close()


def test_the_directory_that_is_there_is_locked(place, device, monkeypatch):
    """The device comes back while it is waited for, and another time it is gone."""
    real, came = flock.take, []

    def returns(descriptor: int, patience: float, what: str) -> None:
        if str(device) in what and not came:
            came.append((place / "devices").rename(place / "left"))
            device.resolve().mkdir(parents=True)
        real(descriptor, patience, what)

    monkeypatch.setattr(lock, "take", returns)
    with machine_locked(State(place / "state")), device_locked(device, 0.0):
        assert came and "is held by" in taken(device, place / "other")
    (place / "devices").rename(place / "gone")
    assert taken(device, place / "other") == "taken"


def test_who_only_looks_into_the_directory_is_not_named(place, device):
    def life(ready) -> None:
        os.open(device, os.O_RDONLY)
        ready()

    state = State(place / "state")
    with forked(life) as child, machine_locked(state), device_locked(device, 0.0):
        said = taken(device, place / "other")
    state.close()
    assert f"is held by pid {os.getpid()} (" in said and f"pid {child} " not in said


def test_who_has_it_is_told_without_a_look_at_what_else_he_has_open(place, monkeypatch):
    """A file of a dead server keeps who asks for its status waiting for ever."""
    seen, file = [], place / "lock"
    file.touch()

    def life(ready) -> None:
        fcntl.flock(os.open(file, os.O_RDWR), fcntl.LOCK_EX)
        ready()

    real = Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **words: [seen.append(path), real(path)][1])
    with forked(life) as child, file.open() as own, file.open() as other:
        assert flock.has_open(child, own.fileno())
        assert not flock.has_open(os.getpid(), other.fileno())
        assert flock._takers(own.fileno()) == {child}
    assert not [path for path in seen if "/fd/" in str(path)]


@as_root
def test_a_user_is_told_who_has_it_although_he_may_not_look_there(place):
    for user in USERS:
        (place / str(user)).mkdir(mode=0o700)
        os.chown(place / str(user), user, user)

    def life(ready) -> None:
        os.setresuid(USERS[0], USERS[0], USERS[0])
        with machine_locked(State(place / f"{USERS[0]}/state")), device_locked(DEVICE, 5.0):
            ready()

    with forked(life) as pid:
        said = as_user(USERS[1], lambda: had(DEVICE, place / f"{USERS[1]}/state"))
    assert f"the lock of null, {DEVICE}, is held by pid {pid} (" in said


def test_a_device_that_leaves_while_it_is_locked_leaves_no_descriptor(place, device):
    with machine_locked(State(place / "state")), device_locked(device, 0.0):
        before = descriptors("")
        (place / "devices").rename(place / "left")
        assert descriptors("") == before


def test_a_fork_that_lives_on_does_not_keep_a_device(place, device):
    with machine_locked(State(place / "state")), contextlib.ExitStack() as stack:
        with device_locked(device, 0.0):
            stack.enter_context(forked(lambda ready: ready()))
        assert taken(device, place / "other") == "taken"
        with device_locked(device, 0.0):
            pass
