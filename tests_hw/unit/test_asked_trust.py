"""This file checks that nothing is run as somebody else has written it."""

import argparse
import json
import os
from pathlib import Path

import pytest

from vfio_hw import cli, guest
from vfio_hw.asked import begun
from vfio_hw.coverage import command as coverage
from vfio_hw.coverage import gcov
from vfio_hw.errors import HarnessError
from vfio_hw.mutate import command as mutate
from vfio_hw.mutate.record import Asked, Record
from vfio_hw.run import HARNESS_WRONG

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
GUEST: dict[str, str | int | list[str] | None] = {
    "kernel": "/home/evil/tree",
    "modules": None,
    "patch": ["/home/evil/x.patch"],
    "accel": "tcg",
    "machine": "intel-iommu",
    "cpus": 1,
    "memory": "1G",
}


@pytest.fixture
def record(tmp_path):
    path = tmp_path / "results" / "events.jsonl"
    path.parent.mkdir(mode=0o755)
    path.write_text(json.dumps({"event": "asked", "kernels": [], "guest": {}, "options": {}}))
    path.chmod(0o644)
    path.parent.chmod(0o755)
    return path


def test_a_record_of_our_own_is_read(record):
    assert begun(record.parent) == {"kernels": [], "guest": {}, "options": {}}


def test_one_that_others_may_write_is_not(record):
    record.chmod(0o666)
    with pytest.raises(HarnessError, match=r"events\.jsonl is not this user's alone"):
        begun(record.parent)
    record.chmod(0o644)
    record.parent.chmod(0o777)
    with pytest.raises(HarnessError, match=r"results is not this user's alone"):
        begun(record.parent)


@as_root
def test_one_of_another_user_is_not(record):
    os.chown(record, 4242, -1)
    with pytest.raises(HarnessError, match="go on as user 4242"):
        begun(record.parent)


def test_a_link_to_a_record_is_none(record, tmp_path):
    link = tmp_path / "link"
    link.mkdir(mode=0o755)
    (link / "events.jsonl").symlink_to(record)
    with pytest.raises(HarnessError, match="alone"):
        begun(link)


@as_root
def test_nor_is_one_where_another_user_could_put_another_record(record, tmp_path):
    os.chown(tmp_path, 4242, -1)
    with pytest.raises(HarnessError, match="belongs to user 4242, so what it asks for may be"):
        begun(record.parent)


@pytest.fixture
def mutants(tmp_path):
    """A run over mutants, to be gone on with."""
    out = tmp_path / "mutants"
    out.mkdir(mode=0o755)
    before = os.umask(0)
    Record(out).begin(Asked(GUEST, "/home/evil/corpus", [], 60.0, 7, ["-p", "evil"]))
    os.umask(before)
    return out


def test_mutants_of_our_own_are_gone_on_with_whatever_the_umask_was(mutants):
    args = argparse.Namespace(resume=mutants)
    mutate._resumed(args)
    assert (args.kernel, args.seed) == ("/home/evil/tree", 7)


@pytest.mark.parametrize("name", [".", "mutants.jsonl"])
def test_mutants_that_others_may_write_are_not(mutants, name, capsys):
    (mutants / name).chmod(0o777)
    with pytest.raises(HarnessError, match=r"mutants(\.jsonl)? is not this user's alone"):
        mutate._resumed(argparse.Namespace(resume=mutants))


@as_root
def test_mutants_of_another_user_are_not(mutants):
    os.chown(mutants / "mutants.jsonl", 4242, -1)
    with pytest.raises(HarnessError, match="go on as user 4242, or begin anew without --resume"):
        mutate._resumed(argparse.Namespace(resume=mutants))


def test_what_was_counted_is_not_told_where_others_may_write(record, monkeypatch):
    """It would be written there, too."""
    (record.parent / "guest-1").mkdir()
    (record.parent / "guest-1" / gcov.ARCHIVE).touch()
    record.parent.chmod(0o777)
    monkeypatch.setattr(coverage, "_tell", lambda *_: pytest.fail("it was told"))
    args = argparse.Namespace(compare=None, read=None, instead=False, resume=record.parent)
    args.kernel, args.words, args.rest = "latest-cov", ["coverage"], []
    with pytest.raises(HarnessError, match="alone"):
        coverage.coverage(args)


@pytest.fixture
def failure(content, tmp_path) -> Path:
    """The file of a race, from a guest of somebody else's."""
    path = tmp_path / "results" / "race-1.json"
    path.parent.mkdir(mode=0o755)
    path.write_text(json.dumps({**content, "guest": GUEST}))
    path.chmod(0o644)
    return path


@pytest.fixture
def described(monkeypatch) -> list[argparse.Namespace]:
    """The guests that are asked for: none of them is booted."""
    asked: list[argparse.Namespace] = []

    def none(args, *_):
        asked.append(args)
        raise HarnessError("no guest is booted")

    monkeypatch.setattr(guest, "described", none)
    return asked


def test_a_race_of_our_own_is_replayed_on_the_kernel_that_it_names(failure, described):
    assert cli.main(["replay", str(failure)]) == HARNESS_WRONG
    assert described[0].kernel == "/home/evil/tree"


@pytest.mark.parametrize("name", [".", "race-1.json"])
@pytest.mark.parametrize("given", [False, pytest.param(True, marks=as_root)])
def test_a_race_that_others_may_have_written_names_no_kernel(
    failure, described, capsys, name, given
):
    """Nor modules, nor a patch: a kernel tree has a Makefile, which would be run."""
    there = failure.parent / name
    os.chown(there, 4242, -1) if given else there.chmod(0o777)
    assert cli.main(["replay", str(failure)]) == HARNESS_WRONG
    said = capsys.readouterr().err
    assert described == [] and said.count("\n") == 1
    assert f"{there} is not this user's alone, so the kernel that it names may be" in said
    assert "name one with --kernel" in said
    assert cli.main(["replay", str(failure), "--kernel", "latest"]) == HARNESS_WRONG
    (args,) = described
    assert (args.kernel, args.modules, args.patch) == ("latest", None, [])
    assert (args.cpus, args.memory) == (1, "1G")


def test_a_race_that_names_no_guest_needs_no_trust(failure, content, described):
    failure.write_text(json.dumps(content))
    failure.chmod(0o666)
    assert cli.main(["replay", str(failure)]) == HARNESS_WRONG
    assert (described[0].kernel, described[0].patch) == (guest.DEFAULT_KERNEL, [])
