"""This file checks that a race that failed is a C program, and what that does and says.

The programs run here, where nothing has to be set up but what a test puts there.
"""

import json
import mmap
import os
import re
import resource
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vfio_hw.race import calls
from vfio_hw.race.actor import Actor
from vfio_hw.race.again import Recorded
from vfio_hw.race.program import Memory, Page, Slot, openat, read, sleep_ns, syscall, write
from vfio_hw.race.scene import Scene
from vfio_hw.repro.writer import written
from vfio_hw.uapi import ffi

Content = dict[str, Any]
Failed = Callable[[Callable[[], Scene]], Content]
Save = Callable[[object], Path]
Ended = subprocess.CompletedProcess[str]

# What makes the race one that does not fail.
TAME: Content = {"legal": [["ok", "ok"], ["ok", "EAGAIN"]], "outcome": None}


@pytest.fixture
def compiled(saved: Save, tmp_path: Path) -> Callable[..., str]:
    """Compiles the program of a file, with other words in some places; returns where it is."""

    def make(content: Content, *others: tuple[str, str]) -> str:
        text = written(Recorded.read(saved(content)))
        for before, after in others:
            assert text.count(before) == 1, before
            text = text.replace(before, after)
        source, program = tmp_path / "race.c", tmp_path / "race"
        source.write_text(text)
        line = ["cc", "-O2", "-Wall", "-Werror", "-pthread", "-o", program, source]
        subprocess.run(line, check=True, timeout=60)
        return str(program)

    return make


def run(*words: str) -> Ended:
    return subprocess.run(words, capture_output=True, text=True, timeout=60)


def test_a_program_reproduces_its_failure(content: Content, compiled: Callable[..., str]) -> None:
    done = run(compiled(content))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "outcome ok / EAGAIN is not legal" in done.stdout
    assert re.search(r"    read read end: state 3, errno 11, value -1, [\d.]+ to", done.stdout)
    found = re.search(r"^reproduced in round (\d+)$", done.stdout, re.MULTILINE)
    assert found
    assert int(found[1]) <= max(100, 2 * content["rounds"])


def test_a_program_says_when_it_does_not_reproduce(
    content: Content, compiled: Callable[..., str]
) -> None:
    done = run(compiled({**content, **TAME}), "50")
    assert done.stdout == "not reproduced in 50 rounds\n"
    assert done.returncode == 1


def everything() -> Scene:
    """Mappings, faults, sockets, pointers, a slot that stays empty, and an owner that is killed."""
    where, sockets = calls.mapping("a mapping", 4096), (Slot("one"), Slot("other"))
    pid, null, none = Slot("owner's pid", descriptor=False), Slot("null"), Slot("none")
    prologue = [
        openat("/dev/zero", os.O_RDWR, into=null),
        calls.mmap(where, null, protection=1, flags=2),
        calls.socketpair(*sockets),
    ]
    user = [
        calls.load(where, 8, decisive=True),
        calls.store(where, 1, decisive=True),
        calls.send_descriptor(sockets[0], null),
        calls.receive_descriptor(sockets[1], Slot("copy"), decisive=True),
        calls.poll(sockets[1], 1, 1000, decisive=True),
        # Where a descriptor may be it says that there is none.
        write(sockets[0], b"\xff" * 4),
        syscall("read", sockets[1], Memory(bytes(4), loads={0: none}), 4),
        read(none, 1, decisive=True),
    ]
    owner = Actor(
        "owner",
        [sleep_ns(2_000_000_000, decisive=True)],
        setup=[openat("/dev/null", os.O_RDONLY, into=Slot("its own"))],
        process=True,
        pid=pid,
    )
    killer = Actor("killer", [calls.kill(pid, 9, decisive=True, delay_ns=2_000_000)])
    return Scene(prologue, [Actor("user", user), owner, killer])


def test_every_kind_of_step_is_written_in_c(failed: Failed, compiled: Callable[..., str]) -> None:
    content = failed(everything)
    assert content["outcome"] == ["ok+SIGSEGV+ok+ok+skipped", "SIGKILL", "ok"]
    done = run(compiled(content))
    assert "round 1: outcome ok+SIGSEGV+ok+ok+skipped / SIGKILL / ok is not legal" in done.stdout
    assert done.returncode == 0


@pytest.fixture
def paged() -> Iterator[Callable[[], Scene]]:
    """A message is gathered from a page, received into it, and written to a pipe from there."""
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    memory[:4] = b"from"
    page = Page("a page", int(ffi.cast("uintptr_t", ffi.from_buffer(memory))), b"from")
    vector = Memory(struct.pack("@NN", 0, 4), pointers={0: page})
    header = struct.pack("@NNNNNNN", 0, 0, 0, 1, 0, 0, 0)

    def scene() -> Scene:
        ends, sockets = (Slot("read end"), Slot("write end")), (Slot("one"), Slot("other"))
        message = Memory(header, pointers={2 * struct.calcsize("@N"): vector})
        pipe = syscall("pipe2", Memory(bytes(8), loads={0: ends[0], 4: ends[1]}), os.O_NONBLOCK)
        user = [
            syscall("sendmsg", sockets[0], message, 0, label="send", decisive=True),
            syscall("read", sockets[1], page, 4, label="receive", decisive=True),
            syscall("write", ends[1], page, 4, label="write", decisive=True),
            read(ends[0], 4, decisive=True),
        ]
        other = Actor("other", [sleep_ns(1, decisive=True)])
        return Scene([pipe, calls.socketpair(*sockets)], [Actor("user", user), other])

    yield scene
    assert memory[:4] == b"from"


def test_what_lies_in_a_page_has_an_address_of_its_own_in_c(
    failed: Failed, paged: Callable[[], Scene], compiled: Callable[..., str]
) -> None:
    content = failed(paged)
    assert content["outcome"] == ["ok+ok+ok+ok", "ok"]
    assert content["pages"] == [{"name": "a page", "bytes": b"from".hex()}]
    done = run(compiled(content))
    assert "round 1: outcome ok+ok+ok+ok / ok is not legal" in done.stdout
    assert "    read read end: state 3, errno 0, value 4" in done.stdout


GIVES_BACK = ("static void give_back(void)\n{\n", 'static void give_back(void)\n{\n\tputs("back");')


def test_a_call_that_hangs_is_reproduced_too(
    content: Content, compiled: Callable[..., str]
) -> None:
    blocking = json.loads(json.dumps(content))
    blocking["prologue"][0]["arguments"][1] = 0
    others = (
        ("#define DEADLINE 10", "#define DEADLINE 1"),
        ("CALL(1, SYS_write", "CALL(1, SYS_getppid"),
    )
    done = run(compiled(blocking, GIVES_BACK, *others))
    assert "round 1: read read end did not return within 1 s" in done.stdout
    assert "reproduced in round 1\nback\n" in done.stdout
    assert done.returncode == 0


def test_what_is_slow_without_a_call_that_hangs_is_not_reproduced(
    content: Content, compiled: Callable[..., str]
) -> None:
    slow = json.loads(json.dumps(content))
    slow["actors"][1]["program"][0]["delay_ns"] = 30_000_000_000
    done = run(compiled(slow, GIVES_BACK, ("#define DEADLINE 10", "#define DEADLINE 1")))
    assert done.stdout == (
        "round 1: it took 1 s, though no call hangs: there is too much else to do\nback\n"
    )
    assert done.returncode == 2


def test_a_scene_may_take_longer_than_a_round_but_not_for_ever(
    content: Content, compiled: Callable[..., str]
) -> None:
    sets = "static void restore(void)\n{\n"
    slow = (
        ("#define DEADLINE 10", "#define DEADLINE 1"),
        ("#define SCENE_DEADLINE 60", "#define SCENE_DEADLINE 3"),
    )
    longer = compiled({**content, **TAME}, (sets, f"{sets}\tsleep(2);"), *slow)
    assert run(longer, "1").stdout == "not reproduced in 1 rounds\n"
    done = run(compiled({**content, **TAME}, (sets, f"{sets}\tsleep(20);"), GIVES_BACK, *slow))
    assert done.stdout == "round 1: the scene was not set within 3 s\nback\n"
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [({}, "reproduced in round"), (TAME, "not reproduced in")],
)
def test_the_device_is_given_back_whatever_came_of_it(
    content: Content, compiled: Callable[..., str], changes: Content, said: str
) -> None:
    done = run(compiled({**content, **changes}, GIVES_BACK), "40")
    *_, verdict, last = done.stdout.splitlines()
    assert verdict.startswith(said)
    assert last == "back"


def test_where_actors_share_a_processor_who_waits_sleeps(
    content: Content, compiled: Callable[..., str]
) -> None:
    """As in the engine: a wait that keeps the processor decides the race by itself."""
    late = json.loads(json.dumps({**content, **TAME}))
    late["shifts_ns"] = [0, 20_000_000]
    program, used = compiled(late), resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    only = str(min(os.sched_getaffinity(0)))
    assert run("taskset", "-c", only, program, "40").returncode == 1
    took, now = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert took > 0.8
    assert now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime < took / 3


def test_faults_that_were_injected_are_switched_on_and_off(
    content: Content, saved: Save, compiled: Callable[..., str], tmp_path: Path
) -> None:
    """Of the files of debugfs one stands here for all."""
    text = written(Recorded.read(saved({**content, "nth": 7})))
    assert '{"/sys/kernel/debug/failslab/ignore-gfp-wait", "N"}' in text
    setting = tmp_path / "setting"
    setting.write_text("Y\n")
    others = (
        ("#define SETTINGS 0", "#define SETTINGS 1"),
        ("settings[SETTINGS + 1][2] = {}", f'settings[SETTINGS + 1][2] = {{{{"{setting}", "N"}}}}'),
        (
            "static void restore(void)\n{\n",
            f'static void restore(void)\n{{\n\tsystem("cat {setting}");',
        ),
    )
    done = run(compiled({**content, **TAME}, *others), "1")
    assert done.stdout.startswith("N"), done.stderr
    assert setting.read_text() == "Y\n"
