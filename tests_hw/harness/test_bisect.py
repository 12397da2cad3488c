"""This file checks that the commit that broke a promise is found in a history of the kernel's.

It builds a whole kernel and then a few commits on it, which takes a quarter of an hour and 5 GB on
two cores that are idle, so it runs only when VFIO_HW_BISECT is set.
"""

import os
import shutil
import subprocess
import sys

import pytest

from vfio_hw.mutate import apply, corpus
from vfio_hw.vm.kernels.source import source_of

TEST = "tests_hw/lifecycle/test_kvm.py::test_a_refused_open_through_the_group_keeps_no_kvm"
HOURS = 3600.0


def git(tree, *words):
    # A hundred thousand loose objects would be packed in the background, beside the builds.
    named = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "gc.auto=0"]
    named += ["-c", "core.compression=0"]
    command = ["git", "-C", str(tree), *named, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(tree, subject, file, text):
    # A file that is linked from elsewhere is not written to.
    (tree / file).unlink()
    (tree / file).write_text(text)
    git(tree, "commit", "-q", "-a", "-m", subject)


@pytest.mark.skipif("VFIO_HW_BISECT" not in os.environ, reason="set VFIO_HW_BISECT to run it")
def test_the_commit_with_a_planted_bug_is_found_past_one_that_does_not_build(kernel, tmp_path):
    tree = tmp_path / "linux"
    source = source_of(kernel.objects)
    linked = source.stat().st_dev == tmp_path.stat().st_dev
    copy = ["cp", "-al" if linked else "-a", source, tree]
    subprocess.run(copy, check=True, timeout=600)
    git(tree, "init", "-q")
    git(tree, "add", "-A", "-f")
    git(tree, "commit", "-q", "-m", "as it was released")
    ((mutant,), _) = corpus.chosen(corpus.CORPUS, ["KVM-07"])
    broken = apply.applied(mutant, source)
    file = mutant.file
    clean = (tree / file).read_text()
    commit(tree, "a comment", file, f"{clean}/* one */\n")
    commit(tree, "it does not build", file, f"{clean}nonsense\n")
    commit(tree, "another comment", file, f"{clean}/* two */\n")
    commit(tree, "the bug", file, broken)
    commit(tree, "a comment on it", file, f"{broken}/* three */\n")
    first = git(tree, "rev-list", "--max-parents=0", "HEAD")
    line = [sys.executable, "-m", "vfio_hw", "bisect", "--tree", str(tree), "--accel", "tcg"]
    line += ["--results", str(tmp_path / "results"), first, "HEAD", "--", TEST]
    # What it builds is of no use to anybody else.
    cache = tmp_path / "cache"
    own = {**os.environ, "VFIO_HW_CACHE": str(cache)}
    done = subprocess.run(line, capture_output=True, text=True, timeout=2 * HOURS, env=own)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the bug" in done.stdout.rpartition("the tests fail since")[2]
    assert git(tree, "status", "--porcelain") == ""
    assert git(tree, "worktree", "list").count("\n") == 0
    for large in (tree, cache):
        shutil.rmtree(large)
