"""This file checks that a race that failed is a file, and that the file is run again, also as C."""

import json
import mmap
import os
import re
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vfio_hw.cli import main
from vfio_hw.errors import HarnessError, KernelSplat
from vfio_hw.race import calls
from vfio_hw.race.actor import Actor
from vfio_hw.race.again import About, Recorded
from vfio_hw.race.failure import Failure
from vfio_hw.race.program import (
    Memory,
    Page,
    Slot,
    close,
    openat,
    read,
    sleep_ns,
    syscall,
    write,
)
from vfio_hw.race.racer import Racer
from vfio_hw.race.seeker import Seeker, seek
from vfio_hw.race.spread import Scene
from vfio_hw.repro.writer import written
from vfio_hw.uapi import ffi

LEGAL = {("ok", "ok")}


def scene() -> Scene:
    """A reader that comes before the writer gets EAGAIN, which here is taken for illegal."""
    ends = Slot("read end"), Slot("write end")
    pipe = syscall("pipe2", Memory(bytes(8), loads={0: ends[0], 4: ends[1]}), os.O_NONBLOCK)
    writer = [write(ends[1], b"x", decisive=True), sleep_ns(200_000)]
    return Scene(
        [pipe],
        [Actor("writer", writer), Actor("reader", [read(ends[0], 1, decisive=True)])],
        [close(ends[0]), close(ends[1])],
    )


def failed(scene: Callable[[], Scene], legal: set[tuple[str, ...]] = LEGAL) -> dict[str, Any]:
    told: list[Failure] = []
    with Racer() as racer, pytest.raises(KernelSplat):
        seek(
            racer,
            scene,
            Seeker(5, 300_000),
            budget_seconds=10,
            legal=legal,
            tell=told.append,
        )
    begun, failure = told
    assert begun.complaint == ""
    assert begun.shifts_ns is None
    ran = {"test": "tests_hw/race/test_x.py::test_y", "widened": [], "guest": None}
    return {**ran, **failure.as_json(None)}


def saved(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    return failed(scene)


def test_a_failure_says_what_ran_and_what_came_of_it(content: dict[str, Any]) -> None:
    assert content["complaint"] == "outcome (ok, EAGAIN) is not legal"
    assert content["outcome"] == ["ok", "EAGAIN"]
    assert content["kernel"] == os.uname().release
    assert content["shifts_ns"][0] == 0
    assert [slot["name"] for slot in content["slots"]] == ["read end", "write end"]
    (pipe,) = content["prologue"]
    assert (pipe["call"], pipe["arguments"][1]) == ("pipe2", os.O_NONBLOCK)
    assert pipe["arguments"][0]["memory"] == {"bytes": "00" * 8, "loads": {"0": 0, "4": 1}}
    assert (content["nth"], content["deadline"]) == (None, 5.0)
    assert content["actors"][1]["program"][0]["arguments"][0] == {"slot": 0}
    assert any("read read end: EAGAIN" in line for line in content["calls"])
    assert json.loads(json.dumps(content)) == content


def test_a_failure_is_run_again_about_its_offsets(content: dict[str, Any], tmp_path: Path) -> None:
    recorded = Recorded.read(saved(tmp_path / "race.json", content))
    offsets = recorded.offsets_ns
    assert offsets is not None
    chooser = About(offsets, 1)
    # Where the scene puts them by now does not matter, as it is measured anew each time.
    writer, reader = scene().actors
    late = [replace(writer, offset_ns=70), replace(reader, offset_ns=-3_000_000)]
    rounds = [chooser.choose(late) for _ in range(40)]
    assert {first + 70 for first, _ in rounds} == {offsets[0]}
    away = [abs(second - 3_000_000 - offsets[1]) for _, second in rounds]
    near, *_, widest = (max(away[place::4]) for place in range(4))
    assert near <= 20_000 < 40_000 < widest <= 160_000
    assert len(set(away)) > 10
    with pytest.raises(HarnessError, match="is of 2 actors and the test has 1"):
        chooser.choose(scene().actors[:1])


def compiled(text: str, directory: Path) -> Path:
    source, program = directory / "race.c", directory / "race"
    source.write_text(text)
    line = ["cc", "-O2", "-Wall", "-Werror", "-pthread", "-o", str(program), str(source)]
    subprocess.run(line, check=True, timeout=60)
    return program


def test_its_program_compiles_and_reproduces_it(content: dict[str, Any], tmp_path: Path) -> None:
    recorded = Recorded.read(saved(tmp_path / "race.json", content))
    program = compiled(written(recorded), tmp_path)
    done = subprocess.run([program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "outcome ok / EAGAIN is not legal" in done.stdout
    assert re.search(r"    read read end: state 3, errno 11, value -1, [\d.]+ to", done.stdout)
    found = re.search(r"^reproduced in round (\d+)$", done.stdout, re.MULTILINE)
    assert found
    assert int(found[1]) <= max(100, 2 * content["rounds"])


def test_its_program_says_when_it_does_not_reproduce(
    content: dict[str, Any], tmp_path: Path
) -> None:
    tame = {**content, "legal": [["ok", "ok"], ["ok", "EAGAIN"]]}
    program = compiled(written(Recorded.read(saved(tmp_path / "race.json", tame))), tmp_path)
    done = subprocess.run([program, "50"], capture_output=True, text=True, timeout=60)
    assert done.stdout == "not reproduced in 50 rounds\n"
    assert done.returncode == 1


def everything() -> Scene:
    """Mappings, faults, sockets, pointers in memory, and an owner that is killed."""
    where, sockets = calls.mapping("a mapping", 4096), (Slot("one"), Slot("other"))
    pid, null = Slot("owner's pid", descriptor=False), Slot("null")
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


def test_every_kind_of_step_is_written_in_c(tmp_path: Path) -> None:
    content = failed(everything)
    assert content["outcome"] == ["ok+SIGSEGV+ok+ok", "SIGKILL", "ok"]
    program = compiled(written(Recorded.read(saved(tmp_path / "race.json", content))), tmp_path)
    done = subprocess.run([program], capture_output=True, text=True, timeout=60)
    assert "round 1: outcome ok+SIGSEGV+ok+ok / SIGKILL / ok is not legal" in done.stdout
    assert done.returncode == 0


def paged() -> Scene:
    """A message gathered from a page, read back into it, and read from there through a mapping."""
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    memory[:4] = b"from"
    page = Page("a page", int(ffi.cast("uintptr_t", ffi.from_buffer(memory))), b"from")
    ends, sockets = (Slot("read end"), Slot("write end")), (Slot("one"), Slot("other"))
    vector = Memory(struct.pack("@NN", 0, 4), pointers={0: page})
    layout = struct.pack("@NNNNNNN", 0, 0, 0, 1, 0, 0, 0)
    message = Memory(layout, pointers={2 * struct.calcsize("@N"): vector})
    prologue = [
        syscall("pipe2", Memory(bytes(8), loads={0: ends[0], 4: ends[1]}), os.O_NONBLOCK),
        calls.socketpair(*sockets),
    ]
    user = [
        syscall("sendmsg", sockets[0], message, 0, label="send", decisive=True),
        syscall("read", sockets[1], page, 4, label="receive", decisive=True),
        syscall("write", ends[1], page, 4, label="write", decisive=True),
        read(ends[0], 4, decisive=True),
    ]
    KEPT.append(memory)
    return Scene(prologue, [Actor("user", user), Actor("other", [sleep_ns(1, decisive=True)])])


KEPT: list[mmap.mmap] = []


def test_what_lies_in_a_page_has_an_address_of_its_own_in_c(tmp_path: Path) -> None:
    content = failed(paged)
    assert content["outcome"] == ["ok+ok+ok+ok", "ok"]
    assert content["pages"] == [{"name": "a page", "bytes": b"from".hex()}]
    program = compiled(written(Recorded.read(saved(tmp_path / "race.json", content))), tmp_path)
    done = subprocess.run([program], capture_output=True, text=True, timeout=60)
    assert "round 1: outcome ok+ok+ok+ok / ok is not legal" in done.stdout
    assert "    read read end: state 3, errno 0, value 4" in done.stdout


def test_a_call_that_hangs_is_reproduced_too(content: dict[str, Any], tmp_path: Path) -> None:
    blocking = json.loads(json.dumps(content))
    blocking["prologue"][0]["arguments"][1] = 0
    text = written(Recorded.read(saved(tmp_path / "race.json", blocking)))
    text = text.replace("#define DEADLINE 10", "#define DEADLINE 1")
    blocking["actors"][0]["program"].clear()
    program = compiled(text.replace("CALL(1, SYS_write", "CALL(1, SYS_getppid"), tmp_path)
    done = subprocess.run([program], capture_output=True, text=True, timeout=60)
    assert "round 1: read read end did not return within 1 s" in done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda content: "no JSON", "is no failure file"),
        (lambda content: [1, 2], "is no failure file: name a race-N.json"),
        (lambda content: {**content, "vfio_hw_race": 99}, "is of version 99|file of version 99"),
        (lambda content: {**content, "actors": 5, "seed": "x"}, "is damaged: seed, actors of it"),
        (lambda content: {**content, "test": "--pdb tests_hw/x.py::y"}, "is damaged: test of it"),
        (lambda content: {k: v for k, v in content.items() if k != "nth"}, "is damaged: nth of it"),
    ],
)
@pytest.mark.parametrize("command", ["replay", "repro"])
def test_what_is_no_failure_file_is_refused_with_a_sentence(
    content: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[dict[str, Any]], object],
    complaint: str,
    command: str,
) -> None:
    path = saved(tmp_path / "race.json", spoil(content))
    assert main([command, str(path)]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(complaint, line)


def test_a_file_that_is_not_there_or_not_json_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    assert main(["repro", str(broken)]) == 3
    assert main(["repro", str(tmp_path / "missing.json")]) == 3
    one, other = capsys.readouterr().err.splitlines()
    assert "broken.json is no failure file: it is not JSON" in one
    assert "missing.json can not be read (No such file or directory)" in other


def test_a_failure_that_names_no_device_but_needs_one_is_for_replay_only(
    content: dict[str, Any], tmp_path: Path
) -> None:
    node = {**content["prologue"][0], "arguments": [-100, {"memory": {"path": "group"}}, 2, 0]}
    path = saved(tmp_path / "race.json", {**content, "prologue": [node]})
    with pytest.raises(HarnessError, match="names no device that a C program could set up"):
        written(Recorded.read(path))
