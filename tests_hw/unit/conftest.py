"""What several of these tests make up: what scenes look for, races, guests and kernels."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vfio_hw.errors import HarnessError, KernelSplat
from vfio_hw.host import shared
from vfio_hw.host.state import VARIABLE, State
from vfio_hw.mutate import corpus, variant
from vfio_hw.mutate.record import SURVIVED, Asked, Record, Verdict
from vfio_hw.mutate.variant import Variant
from vfio_hw.oracle.splats import splats
from vfio_hw.race.actor import Actor
from vfio_hw.race.catalogue.subject import Pull, Subject
from vfio_hw.race.failure import Failure
from vfio_hw.race.program import Memory, Slot, close, read, sleep_ns, syscall, write
from vfio_hw.race.racer import Racer
from vfio_hw.race.scene import Scene
from vfio_hw.race.seeker import Seeker, seek
from vfio_hw.report.events import EventLog, Result
from vfio_hw.uapi import lib
from vfio_hw.vm import machine, supervisor
from vfio_hw.vm.kernels import Kernel
from vfio_hw.vm.machine import Deadlines, Ending, GuestRun
from vfio_hw.vm.progress import restored
from vfio_hw.vm.supervisor import Supervisor

PATCH = """\
// id: {id}
// title: made for this test
// class: lost request
// promise: P2
// origin: plausible
// device: edu
// oracle: assertion
// kind: deterministic
// file: drivers/vfio/vfio_main.c
{more}
@@ @@
- a();
"""
WARNING = """\
[    2.0] ------------[ cut here ]------------
[    2.0] WARNING: drivers/vfio/made_up.c:7 at made_up+0x10/0x20, CPU#0: python3/36
[    2.0] Call Trace:
[    2.0]  made_up+0x10/0x20
[    2.0] ---[ end trace 0000000000000000 ]---
"""
SESSION = {"event": "session", "tests": ["a", "b"]}
STARTED = {"event": "started", "test": "a"}
UNUSABLE = {"event": "unusable", "text": "why"}


def finished(test: str, *findings: str) -> dict:
    verdict = "failed" if findings else "passed"
    return Result(test, verdict, 0.1, "", "kernel log", {}, list(findings)).as_event()


WHOLE = ([SESSION, STARTED, finished("a"), finished("b")], "", Ending.EXITED, 0)


def replaced(thing, **changes):
    """The guest stays what it is: it is never booted."""
    return thing if isinstance(thing, machine.Guest) else replace(thing, **changes)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[State]:
    """An empty directory of state, which is the one that is used."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "state"))
    opened = State()
    yield opened
    opened.close()


@pytest.fixture
def supervised(tmp_path, monkeypatch):
    """Plays guests that send these events, print this and end so; returns their results."""

    def play(
        *guests: tuple[list[dict], str, Ending, int | None],
        judge: Callable[[Result], Result] = lambda result: result,
        most_lost: int | None = None,
        before: list[dict] | None = None,
        aside: dict[str, Callable] | None = None,
    ) -> list[Result]:
        script = iter(guests)

        def run(guest, out, *, deadlines, on_event, on_output, stop) -> GuestRun:
            events, console, ending, status = next(script)
            for event in events:
                on_event(event)
            (out / "console.log").write_text(console)
            return GuestRun(ending, status, 1.0, out / "console.log", "what happened")

        monkeypatch.setattr(machine, "run", run)
        log = EventLog(tmp_path / "events.jsonl")
        log.path.touch()
        guest = machine.Guest(tmp_path, None, None, [])
        monkeypatch.setattr(supervisor, "replace", replaced)
        play.ended = Supervisor(
            guest,
            tmp_path / "out",
            log,
            deadlines=Deadlines(),
            judge=judge,
            splats=splats,
            on_result=lambda result: None,
            on_output=lambda data: None,
            most_lost=most_lost or len(guests),
            progress=restored(before or []),
            aside=aside,
        ).run()
        return log.results()

    return play


class Bench:
    """Boots nothing: gives the verdicts it was told, and remembers what it was asked."""

    kernel, release, finds, budget = "7.3.4 (k)", "7.3.4", (), 60.0
    alone = "passed"  # the verdict of a test that is asked alone, on a clean kernel

    def __init__(self, told: dict[str, Verdict | BaseException]) -> None:
        self.told, self.asked = told, []
        self.machine, self.machines = "", []

    def on(self, name) -> "Bench":
        self.machine = name
        return self

    def conditions(self, races) -> str:
        return f"races {races}"

    def tried(self, name, modules, order, out, unsound=(), enough=None) -> Verdict:
        self.asked.append((name, order))
        self.machines.append(self.machine)
        out.mkdir()
        alone = order.tests[:1] if enough and order.tests else ()
        results = [Result(test, self.alone, 1.0) for test in alone if self.alone]
        log = EventLog(out / "events.jsonl")
        log.path.touch()
        for result in results:
            log.write(result.as_event())
        answer = self.told.get(name, Verdict(name, SURVIVED, tests=3, passed=3, seconds=1.0))
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def own_shared_place(tmp_path_factory, monkeypatch):
    """What all users of a machine share is not that of this one; root has made no such place."""
    place = tmp_path_factory.mktemp("run") / "nowhere" / "vfio-hw"
    monkeypatch.setattr(shared, "PLACE", place)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A corpus, a kernel that was never built, and a record."""
    monkeypatch.setenv("VFIO_HW_CACHE", str(tmp_path / "cache"))
    for name, more in (("A-1", ""), ("B-1", ""), ("C-1", "// equivalent: nobody is there\n")):
        (tmp_path / f"{name}.cocci").write_text(PATCH.format(id=name, more=more))
    kernel = Kernel("k", "7.3.4", Path("i"), Path("m"), None, None, tmp_path, objects=tmp_path)

    def provide(mutant, kernel):
        if mutant.id == "B-1":
            raise HarnessError("B-1: its patch matches nothing")
        return Variant(Path("modules"), variant.key_of(mutant, kernel), 2.0)

    monkeypatch.setattr(variant, "provide", provide)
    mutants, _ = corpus.read(tmp_path)
    results = tmp_path / "results"
    results.mkdir()
    record = Record(results)
    record.begin(Asked({}, str(tmp_path), [], 60.0, 7, []))
    return mutants, kernel, record


@pytest.fixture
def subject(tmp_path) -> Subject:
    """A directory with what scenes look for in sysfs."""
    (tmp_path / "vfio-dev/vfio7").mkdir(parents=True)
    (tmp_path / "vfio-dev/vfio7/dev").touch()
    (tmp_path / "iommu_group").symlink_to("3")
    bars = {lib.VFIO_PCI_BAR0_REGION_INDEX: 0, lib.VFIO_PCI_BAR2_REGION_INDEX: 2 << 40}
    regions = {**bars, lib.VFIO_PCI_CONFIG_REGION_INDEX: 7 << 40}
    pull = Pull(7, b"device_del")
    return Subject("mtty", "name", tmp_path, regions, physical=tmp_path, pull=pull)


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


def _failed(scene: Callable[[], Scene]) -> dict[str, Any]:
    told: list[Failure] = []
    with Racer() as racer, pytest.raises(KernelSplat):
        seek(
            racer,
            scene,
            Seeker(5, 300_000),
            budget_seconds=10,
            legal={("ok", "ok")},
            tell=told.append,
        )
    begun, failure = told
    assert begun.complaint == ""
    assert begun.shifts_ns is None
    ran = {"test": "tests_hw/race/test_x.py::test_y", "widened": [], "guest": None}
    return {**ran, **failure.as_json(None)}


@pytest.fixture(scope="session")
def failed() -> Callable[[Callable[[], Scene]], dict[str, Any]]:
    """Runs rounds of a scene until one is not (ok, ok), and returns what goes into its file."""
    return _failed


@pytest.fixture(scope="session")
def content() -> dict[str, Any]:
    """The file of a reader that comes too early."""
    return _failed(scene)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[object], Path]:
    """Writes a file that holds this."""

    def save(content: object) -> Path:
        path = tmp_path / "race.json"
        path.write_text(json.dumps(content))
        return path

    return save
