"""This file checks that what a process has open is seen whichever of its threads has it."""

import ctypes
import mmap
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vfio_hw.host import tables
from vfio_hw.host.forked import forked
from vfio_hw.host.openers import openings
from vfio_hw.host.process import process_state
from vfio_hw.oracle import holders

NODE = "/dev/zero"
_CLONE_FILES = 0x400
_DEADLINE = 10.0

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_ssize_t
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]


def opens() -> None:
    os.open(NODE, os.O_RDONLY)


def maps() -> None:
    """And has it open no more; an object of Python's would."""
    descriptor = os.open(NODE, os.O_RDONLY)
    assert _libc.mmap(None, 4096, mmap.PROT_READ, mmap.MAP_PRIVATE, descriptor, 0) != -1
    os.close(descriptor)


def without_its_first_thread(use: Callable[[], None], ready: Callable[[], None]) -> None:
    """Others live on: one ended right before, one shares all, one has used the node."""
    first = threading.Thread(target=lambda: None)
    first.start()
    first.join()

    def second() -> None:
        use()
        ready()
        os._exit(0)

    threading.Thread(target=time.sleep, args=(60,)).start()
    threading.Thread(target=second).start()
    _libc.pthread_exit(None)


def with_a_table_of_its_own(use: Callable[[], None], ready: Callable[[], None]) -> None:
    """One of its threads has, and opens the node there."""

    def second() -> None:
        assert _libc.unshare(_CLONE_FILES) == 0
        use()
        ready()
        os._exit(0)

    thread = threading.Thread(target=second)
    thread.start()
    thread.join()


@pytest.fixture(params=[without_its_first_thread, with_a_table_of_its_own])
def living(request) -> Iterator[Callable]:
    """Lives such a process, which gets what it does with the node."""

    def live(use: Callable[[], None]):
        return forked(lambda ready: request.param(use, ready))

    live.ends = request.param is without_its_first_thread
    return live


def settled(pid: int, ends: bool) -> None:
    """Its first thread has ended, where it does."""
    end = time.monotonic() + _DEADLINE
    while ends and process_state(pid).state != "Z":
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("tells", [True, False], ids=["kcmp", "no-kcmp"])
@pytest.mark.parametrize("use", [opens, maps])
def test_who_has_a_node_open_is_seen_whichever_thread_has_it(living, use, tells, monkeypatch):
    if not tells:
        monkeypatch.setattr(tables, "_KCMP", None)
    monkeypatch.setattr(holders, "_HELD", re.compile(f"{NODE}$"))
    with living(use) as pid:
        settled(pid, living.ends)
        told = [each.what for each in openings()[0] if each.pid == pid]
        mine = [line for line in holders.holders() if line.startswith(f"pid {pid} ")]
    assert told.count(NODE) == 1
    kind = r"thread \d+ descriptor \d+" if use is opens else r"mapping [^ ]+"
    assert mine and all(re.search(rf"\) {kind}: {NODE}$", line) for line in mine), mine
    assert len(mine) == 1 or not tells


def test_threads_that_share_a_table_are_looked_at_once():
    def life(ready: Callable[[], None]) -> None:
        for _ in range(20):
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        ready()

    with forked(life) as pid:
        assert tables.tables(pid) == [Path(f"/proc/{pid}")]


def test_a_thread_that_ends_meanwhile_hides_nothing(tmp_path, monkeypatch):
    """It was to tell of all; another one is asked."""
    process = tmp_path / "proc/7"
    for tid in (7, 8, 9):
        thread = process / "task" / str(tid)
        (thread / "fd").mkdir(parents=True)
        (thread / "stat").write_text(f"{tid} (x) {'Z' if tid == 7 else 'S'} 1 1\n")
    (process / "task/9/fd/3").symlink_to(NODE)
    (process / "stat").write_text("7 (x) Z 1 1\n")
    asked = []

    def distinct(*_):
        asked.append(8 + len(asked))
        return [process / "task" / str(asked[-1])]

    def names(directory: Path) -> list[str]:
        (process / "task/8/stat").write_text("8 (x) X 1 1\n")
        return [each.name for each in directory.iterdir()]

    monkeypatch.setattr(tables, "tables", distinct)
    monkeypatch.setattr(tables, "names_in", names)
    assert [each.target for each in tables.descriptors(7, tmp_path)] == [NODE]
    assert asked == [8, 9]


@pytest.fixture
def threads(tmp_path):
    """A process whose first thread has ended, and threads with these states."""

    def made(states: str) -> list[Path]:
        process = tmp_path / "proc/7"
        found = []
        for tid, state in enumerate(f"Z{states}", 7):
            thread = process / "task" / str(tid)
            (thread / "fd").mkdir(parents=True)
            (thread / "maps").write_text("")
            (thread / "stat").write_text(f"{tid} (x) {state} 1 1\n")
            found.append(thread)
        (process / "stat").write_text("7 (x) Z 1 1\n")
        return found

    return made


@pytest.mark.parametrize("listed", [[], [1]], ids=["all-ended-before", "one-ended-meanwhile"])
@pytest.mark.parametrize("look", [tables.descriptors, tables.mappings])
def test_who_lives_and_could_not_be_looked_at_has_not_told(threads, monkeypatch, look, listed):
    """Every time the threads that were listed have ended, and another one lives."""
    there = threads("XS")
    monkeypatch.setattr(tables, "tables", lambda *_: [there[each] for each in listed])
    root = there[0].parents[3]
    with pytest.raises(OSError, match="end faster"):
        list(look(7, root))
    (there[2] / "stat").write_text("9 (x) X 1 1\n")
    assert list(look(7, root)) == []


def test_a_process_that_did_not_tell_is_silent(threads, monkeypatch):
    there = threads("S")
    monkeypatch.setattr(tables, "tables", lambda *_: [])
    opened, silent = openings(there[0].parents[3])
    assert opened == [] and [each.pid for each in silent] == [7]
    assert silent[0].why == "(its threads end faster than they can be looked at)"


def has_it_open(thread: Path) -> None:
    (thread / "fd/3").symlink_to(NODE)


def has_it_mapped(thread: Path) -> None:
    (thread / "maps").write_text(f"7f10-7f20 r--p 00000000 00:05 4 {NODE}\n")


@pytest.mark.parametrize("has_it", [has_it_open, has_it_mapped])
def test_what_was_seen_of_who_did_not_tell_all_counts(threads, monkeypatch, has_it):
    """One of its threads has always ended by the end of a look, and another one lives."""
    monkeypatch.setattr(holders, "_HELD", re.compile(f"{NODE}$"))
    there = threads("XS")
    has_it(there[1])
    monkeypatch.setattr(tables, "tables", lambda *_: there[1:2])
    opened, silent = openings(there[0].parents[3])
    assert [each.what for each in opened] == [NODE] and [each.pid for each in silent] == [7]
    (held,) = holders.holders(there[0].parents[3])
    assert held.endswith(NODE)


def test_so_does_what_comes_after_a_descriptor_of_a_thread_that_has_ended(threads, monkeypatch):
    there = threads("SS")
    (there[1] / "fd/3").symlink_to("nowhere")
    has_it_open(there[2])
    found = [tables.Descriptor(thread, "3", NODE) for thread in there[1:]]
    monkeypatch.setattr("vfio_hw.host.openers.descriptors", lambda *_: iter(found))
    (there[1] / "stat").write_text("8 (x) X 1 1\n")
    opened, silent = openings(there[0].parents[3])
    assert [each.what for each in opened] == [NODE] and [each.pid for each in silent] == [7]
