"""This file checks that a process which hangs is noticed from outside, described, and ended."""

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from vfio_hw.oracle.children import have_children
from vfio_hw.race import spread
from vfio_hw.report.events import EventLog
from vfio_hw.watchdog import RACE_BUDGET, Watchdog, deadline_for, evidence, guard

PATIENCE = 20.0
Played = Callable[..., tuple[int, list[dict], str]]


@pytest.fixture(autouse=True)
def nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kernel of this machine is not asked to log anything."""
    sysrq = tmp_path / "sysrq-trigger"
    sysrq.touch()
    monkeypatch.setattr(evidence, "SYSRQ", sysrq)
    return sysrq


@pytest.fixture
def played(tmp_path: Path) -> Played:
    """Runs a life beside a watchdog, in a process of its own: its status, the events, the words."""
    port, said = tmp_path / "events", tmp_path / "said"

    def play(life: Callable[[Watchdog], object], deadline: float = 0.2, *, supervised: bool):
        port.touch()
        child = os.fork()
        if child == 0:
            _live(life, deadline, port, said, supervised)
        status = os.waitstatus_to_exitcode(_collected(child))
        _until(lambda: not _having_open(said), "the watchdog has ended")
        return status, list(EventLog(port).read()), said.read_text()

    return play


def _live(life, deadline: float, port: Path, said: Path, supervised: bool) -> None:
    status = 77
    try:
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT, 0o600), 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        watchdog = Watchdog(deadline, port, supervised=supervised)
        status = 0 if life(watchdog) is not False else 1
        watchdog.stop()
    except KeyboardInterrupt:
        status = 2
    except BaseException as error:
        os.write(2, f"{error!r}".encode())
    finally:
        os._exit(status)


def _collected(child: int) -> int:
    ending = os.pidfd_open(child)
    try:
        assert select.select([ending], [], [], PATIENCE)[0], "the process did not end in time"
        return os.waitpid(child, 0)[1]
    finally:
        os.close(ending)


def _having_open(path: Path) -> list[str]:
    """The processes that have the file open."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if link.readlink() == path:
                found.append(link.parts[2])
        except OSError:
            continue
    return found


def _until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, f"waited {PATIENCE:g} s in vain: {what}"
        time.sleep(0.02)


def hangs(watchdog: Watchdog) -> None:
    watchdog.began("t.py::test_hangs")
    time.sleep(PATIENCE)


def test_a_test_that_ends_in_time_is_its_own(played: Played) -> None:
    def life(watchdog: Watchdog) -> bool:
        watchdog.began("a test")
        return watchdog.ended()

    assert played(life, deadline=PATIENCE, supervised=True) == (0, [], "")


def test_a_test_that_does_not_end_gets_its_verdict_and_the_machine_is_unusable(
    played: Played,
) -> None:
    def life(watchdog: Watchdog) -> bool:
        watchdog.began("t.py::test_hangs")
        time.sleep(2)
        return watchdog.ended()

    status, (finished, unusable), said = played(life, supervised=True)
    assert status == 1, "the test must not be told twice"
    assert (finished["test"], finished["verdict"]) == ("t.py::test_hangs", "failed")
    assert finished["oracle"] == "hang"
    assert finished["findings"][0].startswith("hang: the test did not end: ")
    assert "did not end within 0.2 s" in finished["text"]
    assert "in life" in finished["text"], "what Python does there"
    assert unusable["event"] == "unusable"
    assert said == "", "whoever supervises tells it"


def test_a_test_that_ends_while_it_is_looked_at_is_its_own(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathered = guard.gathered

    def slow(*arguments):
        found = gathered(*arguments)
        time.sleep(1.0)
        return found

    def life(watchdog: Watchdog) -> bool:
        watchdog.began("a test")
        time.sleep(0.5)
        own = watchdog.ended()
        watchdog.began("the next test")
        return own and watchdog.ended()

    monkeypatch.setattr(guard, "gathered", slow)
    assert played(life, supervised=True) == (0, [], "")


def test_on_a_real_machine_the_test_is_stopped_so_that_it_gives_back(
    played: Played, tmp_path: Path
) -> None:
    def life(watchdog: Watchdog) -> None:
        try:
            hangs(watchdog)
        finally:
            (tmp_path / "given back").touch()

    status, events, said = played(life, supervised=False)
    assert status == 2
    assert (tmp_path / "given back").exists()
    assert [event["event"] for event in events] == ["finished", "unusable"]
    assert "t.py::test_hangs did not end within 0.2 s" in said
    assert "What you can do:" in said
    assert "SIGKILL" not in said


def test_what_does_not_stop_is_killed(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    def life(watchdog: Watchdog) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        hangs(watchdog)

    monkeypatch.setattr(guard, "_GRACE", 0.2)
    status, _, said = played(life, supervised=False)
    assert status == -signal.SIGKILL
    assert "pytest ends after SIGKILL" in said


@pytest.mark.parametrize("supervised", [False, True])
def test_a_test_that_ends_pytest_is_told_once(played: Played, supervised: bool) -> None:
    def life(watchdog: Watchdog) -> None:
        watchdog.began("t.py::test_deadly")
        os.kill(os.getpid(), signal.SIGKILL)

    status, events, said = played(life, deadline=PATIENCE, supervised=supervised)
    assert status == -signal.SIGKILL
    if supervised:  # who supervises sees the status
        assert (events, said) == ([], "")
    else:
        (finished,) = events
        assert (finished["verdict"], finished["oracle"]) == ("error", "exit")
        assert "ended while t.py::test_deadly ran" in said


def test_the_watchdog_is_no_child_and_holds_nothing(played: Played, tmp_path: Path) -> None:
    held = os.open(tmp_path / "held", os.O_RDWR | os.O_CREAT)

    def life(watchdog: Watchdog) -> bool:
        _until(lambda: len(_having_open(tmp_path / "events")) == 1, "the watchdog is there")
        return not have_children() and _having_open(tmp_path / "held") == [
            str(pid) for pid in sorted([os.getpid(), os.getppid()])
        ]

    try:
        assert played(life, supervised=True)[0] == 0
    finally:
        os.close(held)


@pytest.mark.parametrize("when", ["before it is told", "before it answers"])
def test_a_watchdog_that_is_gone_is_not_overlooked(
    played: Played, tmp_path: Path, when: str
) -> None:
    def life(watchdog: Watchdog) -> None:
        _until(lambda: len(_having_open(tmp_path / "events")) == 1, "the watchdog is there")
        pid = int(_having_open(tmp_path / "events")[0])
        if when == "before it is told":
            os.kill(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGSTOP)
            threading.Timer(0.2, os.kill, (pid, signal.SIGKILL)).start()
        watchdog.began("a test")
        watchdog.ended()

    status, _, said = played(life, supervised=True)
    assert status == 77
    assert "the watchdog of the tests has ended" in said


def test_time_in_which_the_machine_stood_still_is_not_the_tests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pidfd = os.pidfd_open(os.getpid())
    watched = guard.Watched(os.getpid(), pidfd, -1)
    with ours, theirs:
        watching = guard._Guard(theirs, watched, 60.0, -1, True)
        watching._take(b"began a test")
        clock = iter([0.0, 3600.0])
        monkeypatch.setattr(guard, "time", SimpleNamespace(monotonic=lambda: next(clock)))
        watching._listen(0.0)
        assert 40.0 < watching._left < 60.0
    os.close(pidfd)


def test_a_race_that_meets_nobody_is_not_taken_for_a_hang() -> None:
    for budget in (RACE_BUDGET, 600.0):
        assert deadline_for(budget) >= 60 + spread.PATIENCE * budget
