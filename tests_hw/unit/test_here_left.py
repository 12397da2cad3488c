"""This file checks what is said and undone of what an earlier run, bind or unbind has left."""

import subprocess
import sys
from pathlib import Path

import pytest

from vfio_hw.here import earlier, running
from vfio_hw.here.leftovers import leftovers
from vfio_hw.host import journals
from vfio_hw.host.held import Held
from vfio_hw.host.journal import Journal
from vfio_hw.host.lock import machine_locked
from vfio_hw.host.restore import restore
from vfio_hw.host.state import VARIABLE
from vfio_hw.host.target import Target

TEST = "tests_hw/pci/test_close.py::test_a_close"


def test_only_what_a_run_has_left_is_undone_by_the_next(state, tmp_path):
    knobs = {}
    for purpose in ("run", "bind"):
        knob = tmp_path / purpose
        knob.write_text("old\n")
        target = Target("attribute", str(knob))
        kept = Journal.begun(state, purpose)
        kept.note(target, "new")
        knob.write_text("new\n")
        kept.ended(target, "new", made=True)
        if purpose == "bind":
            kept.complete()
        kept.close()
        knobs[purpose] = knob
    assert [each.word for each in earlier.undone(state)] == ["restored"]
    assert (knobs["run"].read_text(), knobs["bind"].read_text()) == ("old\n", "new\n")
    assert state.names(journals.ENDING) == [kept.name]


def test_a_bind_that_was_cut_short_is_left_over(state, tmp_path):
    knob = tmp_path / "knob"
    knob.write_text("old\n")
    target = Target("attribute", str(knob))
    kept = Journal.begun(state, "bind")
    kept.note(target, "new")
    knob.write_text("new\n")
    kept.ended(target, "new", made=True)
    kept.close()
    (told,) = leftovers()
    assert (told.name, "vfio-hw bind, has left 1 changes" in told.reason) == ("leftovers", True)
    assert [each.word for each in earlier.undone(state)] == ["restored"]
    assert (knob.read_text(), state.names(journals.ENDING)) == ("old\n", [])


def test_an_unbind_that_was_cut_short_is_left_over_and_the_rest_stays_bound(
    state, tmp_path, monkeypatch
):
    knobs = [tmp_path / name for name in ("stays", "second", "first")]
    kept = Journal.begun(state, "bind")
    for knob in knobs:
        knob.write_text("old\n")
        target = Target("attribute", str(knob))
        kept.note(target, "new")
        knob.write_text("new\n")
        kept.ended(target, "new", made=True)
    kept.complete()
    kept.close()

    def unbound():
        return list(restore(state, lambda found, target: target.name != str(knobs[0])))

    asked = []

    def ended_at_the_second(self, target):
        asked.append(target)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return []

    with monkeypatch.context() as patched:
        patched.setattr(Held, "target", ended_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            unbound()
    assert [knob.read_text() for knob in knobs] == ["new\n", "new\n", "old\n"]
    assert {each.name: "unbind has left 1 changes" in each.reason for each in leftovers()} == {
        "bound": False,
        "leftovers": True,
    }
    assert [each.word for each in earlier.undone(state)] == ["restored"]
    assert [knob.read_text() for knob in knobs] == ["new\n", "old\n", "old\n"]
    assert [each.name for each in leftovers()] == ["bound"]


def test_what_is_undone_is_undone_when_nobody_reads_of_it(tmp_path):
    program = (
        "import sys; from pathlib import Path; from vfio_hw.here.telling import tell\n"
        "def outcomes():\n"
        "    for path in sys.argv[1:]:\n"
        "        Path(path).write_text('undone'); yield path\n"
        "class Word(str): word = 'restored'\n"
        "sys.exit(tell(map(Word, outcomes())))\n"
    )
    paths = [tmp_path / name for name in ("one", "two", "three")]
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-c", program, *map(str, paths)]
        ended = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert [path.read_text() for path in paths] == ["undone"] * 3


def test_of_another_boot_nothing_is_left(state, tmp_path, monkeypatch):
    for purpose in ("run", "bind"):
        kept = Journal.begun(state, purpose)
        knob = tmp_path / purpose
        knob.write_text("old\n")
        kept.note(Target("attribute", str(knob)), "new")
        kept.close()
    monkeypatch.setattr(journals, "boot", lambda: "another")
    told = list(leftovers())
    assert [each.name for each in told] == ["leftovers"] * 2
    assert all("earlier boot: nothing of that is left" in each.reason for each in told)


def test_doctor_tells_what_is_left(state):
    assert [(each.name, each.verdict) for each in leftovers()] == [("leftovers", "ok")]
    running.began(state, TEST, "")
    running.distrust(state, "x")
    Journal.begun(state, "run").note(Target("attribute", str(state.path / "running")), "x")
    found = {each.name: each for each in leftovers()}
    assert set(found) == {"leftovers", "earlier run", "trust"}
    assert f"was killed in {TEST}" in found["earlier run"].reason
    assert found["trust"].verdict == "not here" and "1 changes" in found["leftovers"].reason
    with machine_locked(state):
        (busy,) = leftovers()
    assert busy.verdict == "not here" and "is held by" in busy.reason


def test_doctor_makes_no_directory(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "state"))
    assert [each.verdict for each in leftovers()] == ["ok"]
    assert not (tmp_path / "state").exists()
