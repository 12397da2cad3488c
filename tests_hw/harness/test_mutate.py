"""This file checks that a bug put into the kernel is detected, and what is no mutant is told."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vfio_hw.mutate.corpus import CORPUS

HEADER = """\
// id: {id}
// title: made for this test
// class: lost request
// promise: P2
// origin: plausible
// device: edu
// oracle: assertion
// kind: deterministic
// file: drivers/vfio/vfio_main.c

"""
BAD = {
    "NONE-1": "@@ expression e; @@\n- no_such_function(e);\n",
    "MANY-1": "@@ expression e; @@\n- kfree(e);\n",
    "TYPO-1": "@@ @@\nvfio_unregister_group_dev(...) { <...\n- return;\n+ retrun;\n...> }\n",
    "LOAD-1": "@@ expression e; @@\nvfio_unregister_group_dev(...) { <...\n"
    "- vfio_device_remove_group(e);\n"
    "+ { extern void no_such_function(void *); no_such_function(e); }\n...> }\n",
    "WORD-1": "@@ expression e; @@\n- kfree(e;\n",
}
PLANTED = Path(__file__).parent / "planted"
FAILING = ("tests_hw/migration/test_failing.py", "tests_hw/migration/test_walk.py")
SELECTION = "tests_hw/lifecycle/test_request.py::test_the_owner_is_asked_at_once"


def mutate(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vfio_hw", "mutate", "--accel", "tcg", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=900, cwd=Path(__file__).parents[2]
    )


@pytest.fixture
def mixed(tmp_path):
    """A corpus of one mutant that is detected, one that is not, and others that are none."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    shutil.copy(CORPUS / "DEV-09.cocci", corpus)
    shutil.copy(CORPUS / "SMP-07.cocci", corpus)
    for name, patch in BAD.items():
        (corpus / f"{name}.cocci").write_text(HEADER.format(id=name) + patch)
    (corpus / "TWIN-1.cocci").write_text(HEADER.format(id="DEV-09") + BAD["NONE-1"])
    return corpus


def test_a_mutant_is_detected_and_what_is_none_does_not_stop_the_others(kernel, mixed, tmp_path):
    out = tmp_path / "out"
    done = mutate("--corpus", mixed, "--results", out, "--", SELECTION)
    verdicts = {
        line["id"]: line
        for line in map(json.loads, (out / "mutants.jsonl").read_text().splitlines()[1:])
    }
    assert verdicts["clean"]["verdict"] == "survived", done.stdout
    assert verdicts["DEV-09"]["verdict"] == "detected"
    assert verdicts["DEV-09"]["test"].startswith(SELECTION)
    assert verdicts["DEV-09"]["oracle"] == "interrupt"
    # Its driver is not looked at by this selection.
    assert verdicts["SMP-07"]["verdict"] == "survived"
    assert {name for name in BAD if verdicts[name]["verdict"] == "bad"} == set(BAD)
    assert "matches nothing" in verdicts["NONE-1"]["text"]
    assert "expected" in verdicts["MANY-1"]["text"]
    assert "TYPO-1: drivers/vfio/vfio_main.c does not compile" in verdicts["TYPO-1"]["text"]
    assert "`retrun;`): correct the patch" in verdicts["TYPO-1"]["text"]
    assert "LOAD-1: with it drivers/vfio/vfio_main.c" in verdicts["LOAD-1"]["text"]
    assert "reading WORD-1.cocci" in verdicts["WORD-1"]["text"]
    assert "TWIN-1.cocci: id is 'DEV-09' and the file another: make them equal" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 3

    again = mutate("--resume", out)
    rows = [json.loads(line)["id"] for line in (out / "mutants.jsonl").read_text().splitlines()[1:]]
    assert [rows.count(name) for name in ("clean", "DEV-09", "SMP-07")] == [1, 1, 1], again.stdout


@pytest.fixture
def failing(tmp_path):
    """Three mttys that fail over data that are not whole: one as it should be, and two bugs."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    shutil.copy(PLANTED / "ERR-1.cocci", corpus)
    for name in ("MIG-11", "MIG-13"):
        shutil.copy(CORPUS / f"{name}.cocci", corpus)
    return corpus


def test_what_leads_out_of_the_state_of_a_failed_device_is_judged(kernel, failing, tmp_path):
    """No device here gets there by itself, so one is made to. The bugs show only after it did."""
    out = tmp_path / "out"
    done = mutate("--budget", "200s", "--corpus", failing, "--results", out, "--", *FAILING)
    rows = map(json.loads, (out / "mutants.jsonl").read_text().splitlines()[1:])
    of = {row["id"]: row for row in rows}
    assert of["clean"]["verdict"] == of["ERR-1"]["verdict"] == "survived", done.stdout
    assert of["ERR-1"]["passed"] == of["ERR-1"]["tests"] == of["clean"]["tests"]
    assert of["MIG-11"]["verdict"] == of["MIG-13"]["verdict"] == "detected", done.stdout
    seen_by = {of[name]["oracle"] for name in ("MIG-11", "MIG-13")}
    assert seen_by == {"assertion"}
