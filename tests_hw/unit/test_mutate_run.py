"""This file checks what a run over mutants takes, records and prints."""

import argparse
from pathlib import Path

import pytest

from vfio_hw import cli, guest
from vfio_hw.errors import HarnessError
from vfio_hw.mutate import command
from vfio_hw.mutate.record import (
    BAD,
    CLEAN,
    DETECTED,
    EQUIVALENT,
    SURVIVED,
    UNCLEAR,
    UNFIT,
    Asked,
    Record,
    Verdict,
)
from vfio_hw.run import HARNESS_WRONG, USAGE
from vfio_hw.vm.kernels import tools

GUEST: dict[str, str | int | list[str] | None] = {
    "kernel": "latest",
    "modules": None,
    "patch": [],
    "accel": "tcg",
    "machine": "intel-iommu",
    "cpus": 4,
    "memory": "1G",
}
ASKED = Asked(GUEST, "fixtures/mutants", ["A-1"], 60.0, 7, ["tests_hw/race"])


@pytest.mark.parametrize(
    ("verdicts", "problems", "status"),
    [
        ([(CLEAN, SURVIVED), ("A", DETECTED)], [], 0),
        ([(CLEAN, SURVIVED), ("A", DETECTED), ("B", EQUIVALENT)], [], 0),
        ([(CLEAN, SURVIVED), ("A", DETECTED), ("B", UNFIT)], [], 0),
        ([(CLEAN, SURVIVED), ("A", SURVIVED), ("B", UNFIT)], [], 1),
        ([(CLEAN, SURVIVED), ("A", UNCLEAR)], [], 3),
        ([(CLEAN, SURVIVED), ("A", BAD)], [], 3),
        ([(CLEAN, SURVIVED), ("A", DETECTED)], ["bad header"], 3),
        ([(CLEAN, DETECTED), ("A", DETECTED)], [], 3),
    ],
)
def test_the_exit_status_says_what_became_of_all(verdicts, problems, status):
    assert command._ended([Verdict(*each) for each in verdicts], problems) == status


def test_a_line_that_was_cut_short_costs_itself_only(tmp_path):
    record = Record(tmp_path)
    record.begin(ASKED)
    record.write(Verdict("A", DETECTED))
    with (tmp_path / "mutants.jsonl").open("a") as file:
        file.write('{"id": "B", "verd')
    record.write(Verdict("C", DETECTED))
    assert [v.id for v in record.read()] == ["A", "C"]


def resuming(directory: Path, **options) -> argparse.Namespace:
    return argparse.Namespace(resume=directory, rest=[], only=[], **options)


def test_what_an_interrupted_run_was_asked_for_is_gone_on_with(tmp_path):
    Record(tmp_path).begin(ASKED)
    args = resuming(tmp_path, budget=1.0, seed=None)
    command._resumed(args)
    assert guest.arguments(args) == GUEST
    assert (args.only, args.budget) == (["A-1"], 60.0)
    assert (args.seed, args.rest) == (7, ["tests_hw/race"])


@pytest.mark.parametrize(
    "words",
    [
        ["--only", "A-1"],
        ["--kernel", "latest"],
        ["--corpus", "fixtures/mutants"],
        ["--budget", "60s"],
        ["--seed", "7"],
        ["--cpus", "2"],
        ["--", "tests_hw/race"],
    ],
)
def test_a_run_that_is_gone_on_with_takes_no_other_options(tmp_path, capsys, words):
    """Not even those that would change nothing."""
    Record(tmp_path).begin(ASKED)
    assert cli.main(["mutate", "--resume", str(tmp_path), *words]) == USAGE
    said = capsys.readouterr().err
    told = words[0] if words[0] != "--" else "what follows --"
    assert f"leave out {told}, or begin anew" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--budget", "0"], "--budget: give a time above 0, such as 90s or 2m, not '0'"),
        (["--budget", "soon"], "not 'soon'"),
        (["--seed", "x"], "--seed: give a whole number, 1 or more, not 'x'"),
        (["tests_hw/race"], "does not take tests_hw/race: tests and options of pytest go after --"),
        (["--check", "tests_hw/race"], "tests and options of pytest go after --"),
        (["-k", "race"], "does not take -k race: tests and options of pytest go after --"),
    ],
)
def test_wrong_usage_is_told_in_a_sentence(capsys, words, told):
    with pytest.raises(SystemExit) as ended:
        cli.main(["mutate", *words])
    assert ended.value.code == USAGE
    assert told in capsys.readouterr().err


def test_a_machine_without_coccinelle_is_told_once_before_all(capsys, monkeypatch):
    monkeypatch.setattr(tools, "environment", lambda: {"PATH": "/nowhere"})
    assert cli.main(["mutate", "--check"]) == HARNESS_WRONG
    said = capsys.readouterr()
    assert said.err.count("spatch, not installed here: apt-get install coccinelle") == 1
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_a_kernel_given_by_path_is_found_again_from_another_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = argparse.Namespace(**GUEST | {"kernel": "bzImage", "modules": Path("modules")})
    recorded = guest.arguments(given)
    assert recorded["kernel"] == str(tmp_path / "bzImage")
    guest.set_arguments(given, recorded)
    assert given.modules == tmp_path / "modules"


def test_a_directory_without_a_run_can_not_be_gone_on_with(tmp_path):
    with pytest.raises(HarnessError, match="holds no run to go on with"):
        command._resumed(resuming(tmp_path))
