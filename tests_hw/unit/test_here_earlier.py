"""This file checks what the next run on a machine says of the one before, and of the kernel."""

import argparse
import json
import os
import time
from functools import partial

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.here import earlier, pstore, running
from vfio_hw.here.binding import restore_all
from vfio_hw.here.leftovers import leftovers
from vfio_hw.host.state import State
from vfio_hw.oracle.taint import faults
from vfio_hw.report.events import EventLog

TEST = "tests_hw/pci/test_close.py::test_a_close"
OOPS = """<4>[   12.000000] ------------[ cut here ]------------
<4>[   12.000001] WARNING: CPU: 0 PID: 7 at drivers/vfio/vfio_main.c:100 vfio_unregister+0x1/0x2
<4>[   12.000002] ---[ end trace 0000000000000000 ]---
"""


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The directory of the firmware's records."""
    place = tmp_path / "pstore"
    place.mkdir()
    monkeypatch.setattr(pstore, "_PSTORE", tmp_path / "no such file system")
    monkeypatch.setattr(pstore, "_MOVED", place)
    return place


def restored() -> list[int]:
    """``vfio-hw restore``, as root."""
    return [restore_all(argparse.Namespace(dry_run=False))]


def in_another_boot(state: State) -> None:
    text = json.loads(state.text("running") or "")
    state.replace("running", json.dumps({**text, "boot": "another"}))


def test_a_run_that_was_killed_says_nothing_of_the_kernel(state):
    running.began(state, TEST, "")
    assert earlier.crashed(state) is None
    assert state.names() == []


@pytest.mark.parametrize("look", [leftovers, restored])
def test_after_a_look_at_what_was_left_a_reboot_is_no_panic(state, look):
    running.began(state, TEST, "")
    list(look())
    assert running.cut_short(state) is None


def test_a_look_after_the_boot_leaves_the_note_to_the_next_run(state):
    running.began(state, TEST, "")
    in_another_boot(state)
    assert [each.name for each in leftovers()] == ["earlier run"]
    assert earlier.crashed(state)


def test_a_machine_that_died_is_the_failure_of_the_test_that_ran(state, kept, tmp_path):
    record = EventLog(tmp_path / "events.jsonl")
    record.write({"event": "run"})
    running.began(state, TEST, str(tmp_path))
    in_another_boot(state)
    (kept / "dmesg-erst-2").write_text("Panic#1 Part1\n<0>[   13.0] Kernel panic - not syncing\n")
    (kept / "dmesg-erst-1").write_text(f"Panic#1 Part2\n{OOPS}")
    (kept / "dmesg-erst-3.enc.z").write_bytes(b"\0\1\2")
    result = earlier.crashed(state)
    assert result and (result.test, result.verdict, result.oracle) == (TEST, "failed", "panic")
    assert len(result.findings) == 1 and "vfio_unregister" in result.findings[0]
    # The parts of a log are numbered from its end.
    assert result.text.rindex("cut here") < result.text.rindex("Kernel panic")
    assert record.results() == [result]
    assert earlier.crashed(state) is None


def test_what_a_kernel_said_before_the_run_is_not_its_own(state, kept):
    (kept / "dmesg-erst-1").write_text("Panic#1 Part1\nlong ago\n")
    os.utime(kept / "dmesg-erst-1", (time.time() - 3600, time.time() - 3600))
    running.began(state, TEST, "")
    in_another_boot(state)
    result = earlier.crashed(state)
    assert result and "nothing of its last words was kept" in result.text
    assert "long ago" not in result.text


@pytest.mark.parametrize("link", [os.symlink, os.link, lambda _, at: os.mkfifo(at)])
def test_a_record_that_is_a_link_by_now_is_not_written_to(state, kept, tmp_path, link):
    (tmp_path / "precious").write_text("precious\n")
    link(tmp_path / "precious", tmp_path / "events.jsonl")
    running.began(state, TEST, str(tmp_path))
    in_another_boot(state)
    assert earlier.crashed(state)
    assert (tmp_path / "precious").read_text() == "precious\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_record_of_somebody_else_is_not_written_to(state, kept, tmp_path):
    (tmp_path / "events.jsonl").touch()
    os.chown(tmp_path / "events.jsonl", 4242, -1)
    running.began(state, TEST, str(tmp_path))
    in_another_boot(state)
    assert earlier.crashed(state)
    assert (tmp_path / "events.jsonl").read_text() == ""


@pytest.mark.parametrize("text", ["", "garbage", "[]", '{"test": 1}'])
def test_a_note_that_nobody_of_ours_has_written_is_forgotten(state, text):
    state.replace("running", text)
    assert earlier.crashed(state) is None and state.names() == []


def test_a_kernel_is_distrusted_until_the_next_boot(state):
    running.must_be_trusted(state)
    running.distrust(state, "the kernel is not to be trusted after this")
    with pytest.raises(HarnessError, match="after this: this kernel is given no further test"):
        running.must_be_trusted(state)
    state.replace("distrusted", json.dumps({"boot": "another", "text": "x"}))
    running.must_be_trusted(state)
    assert state.names() == ["trusted"]


def test_a_kernel_that_has_noted_a_fault_since_the_first_run_is_distrusted(
    state, tmp_path, monkeypatch
):
    tainted = tmp_path / "tainted"
    monkeypatch.setattr(running.taint, "faults", partial(faults, tainted))
    tainted.write_text(f"{1 << 9 | 1 << 12}\n")  # a warning, long ago, and an out-of-tree module
    running.must_be_trusted(state)
    tainted.write_text(f"{1 << 9 | 1 << 12 | 1 << 13}\n")  # which is not signed
    running.must_be_trusted(state)
    tainted.write_text(f"{1 << 9 | 1 << 12 | 1 << 7}\n")
    with pytest.raises(HarnessError, match=r"noted a fault .* since the first run: oops: .*no fur"):
        running.must_be_trusted(state)
    assert [each.name for each in leftovers()] == ["trust"]
    state.replace("trusted", json.dumps({"boot": "another", "faults": []}))
    running.must_be_trusted(state)
