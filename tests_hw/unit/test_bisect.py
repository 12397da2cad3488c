"""This file checks the search for a commit: with git's own bisect, and kernels that are played."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from vfio_hw import bisect, cli
from vfio_hw.onekernel import Judged
from vfio_hw.report.events import Result

# What a commit's kernel is like stands in its file "state".
PLAYED = """
    import errno
    import os
    from pathlib import Path

    from vfio_hw import bisect
    from vfio_hw.errors import HarnessError
    from vfio_hw.onekernel import Judged
    from vfio_hw.report.events import Result
    from vfio_hw.vm.kernels import tools

    FAILING = {
        "unreadable": OSError(errno.EIO, "Input/output error"),
        "mistaken": KeyError("a bug of ours"),
        "full": OSError(errno.ENOSPC, "No space left on device"),
        "told-full": bisect.DiskFull("no space left"),
    }

    # By itself; as a shell ends that can not begin it.
    DYING = {"dies": 1, "denied": 126, "absent": 127}

    def kernel(self, say):
        state = (self.tree / "state").read_text().split()[0]
        if state == "broken":
            raise HarnessError("it does not compile")
        if state in FAILING:
            raise FAILING[state]
        if state in DYING:
            os._exit(DYING[state])
        if state == "slow":
            log = self.tree.parent / "make"
            log.with_suffix(".pid").write_text(str(os.getpid()))
            command = ["sh", "-c", "echo $$; exec sleep 300"]
            tools.watch(command, "", timeout=300, log=log, into=self.tree, glance=lambda: None)
        directory = self.tree.parent / state
        directory.mkdir(exist_ok=True)
        return directory

    def on_kernel(args, out, log):
        state = Path(args.kernel).parent.name
        test = "boot of guest 1" if state == "panics" else "t::a"
        verdict = "passed" if state == "good" else "failed"
        status = {"good": 0, "interrupted": 130}.get(state, 1)
        return Judged(status, "7", [Result(test, verdict, 0.1)])

    bisect.Commits.kernel = kernel
    bisect.on_kernel = on_kernel
"""


def git(tree, *words):
    named = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", "-C", str(tree), *named, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def searched(tmp_path, monkeypatch, capfd):
    """Bisects a history of such kernels; returns the exit status and what was said."""
    monkeypatch.setenv("VFIO_HW_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "played"
    place.mkdir()
    text = textwrap.dedent(PLAYED)
    (place / "sitecustomize.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(place))
    # What the played ones replace is put back after the test.
    monkeypatch.setattr(bisect.Commits, "kernel", None)
    monkeypatch.setattr(bisect, "on_kernel", None)
    exec(text, {})
    tree = tmp_path / "linux"
    tree.mkdir()
    git(tree, "init", "-q")

    def words(*states):
        for number, state in enumerate(states):
            (tree / "state").write_text(f"{state} {number}\n")
            git(tree, "add", "state")
            git(tree, "commit", "-q", "-m", f"{number} is {state}")
        first = git(tree, "rev-list", "--max-parents=0", "HEAD")
        options = ["--tree", str(tree), "--results", str(tmp_path / "out")]
        return ["bisect", *options, first, "HEAD", "--", "tests_hw/lifecycle"]

    def search(*states):
        status = cli.main(words(*states))
        assert git(tree, "worktree", "list").count("\n") == 0, "a worktree was left"
        assert git(tree, "status", "--porcelain") == ""
        said = capfd.readouterr()
        return status, said.out + said.err

    search.words = words
    return search


def ends(pid, within=5.0):
    """What it had open is closed a moment before it has ended."""
    end = time.monotonic() + within
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        # Whoever inherits it may take its time to ask for its status.
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
    return True


@pytest.fixture
def slow(searched, tmp_path):
    """A search whose first step builds for a long time; the home of its worktree, and who runs."""
    command = [sys.executable, "-m", "vfio_hw", *searched.words("good", "slow", "slow", "bad")]
    process = subprocess.Popen(command, start_new_session=True)
    end = time.monotonic() + 60
    while not (found := [p for p in tmp_path.glob("cache/commits/*/make") if p.read_text()]):
        assert process.poll() is None, "the search has ended"
        assert time.monotonic() < end, "no step began"
        time.sleep(0.05)
    (make,) = found
    running = [int(make.with_suffix(".pid").read_text()), int(make.read_text())]
    yield process, make.parent, running
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.kill()
    process.wait()


def test_the_first_bad_commit_is_found(searched):
    status, said = searched("good", "good", "good", "bad", "bad", "bad", "bad", "bad")
    assert status == bisect.OK
    assert "3 is bad" in said.rpartition("the tests fail since")[2]


def test_what_does_not_build_or_boot_is_skipped(searched):
    status, said = searched("good", "good", "broken", "panics", "good", "bad", "panics", "bad")
    assert status == bisect.OK
    assert "5 is bad" in said.rpartition("the tests fail since")[2]


@pytest.mark.parametrize("failure", ["unreadable", "mistaken", "dies", "denied", "absent"])
def test_a_failure_of_the_harness_tells_against_no_commit(searched, failure):
    status, said = searched("good", "good", failure, failure, "good", "bad", failure, "bad")
    assert status == bisect.OK
    assert "5 is bad" in said.rpartition("the tests fail since")[2]


@pytest.mark.parametrize("state", ["full", "told-full"])
def test_a_disk_that_is_full_ends_the_search(searched, state):
    status, said = searched("good", state, state, state, "bad")
    assert status == bisect.HARNESS_WRONG
    assert "git bisect run ended with status" in said


def test_too_much_to_skip_is_told(searched):
    status, said = searched("good", "broken", "panics", "bad")
    assert status == bisect.KERNEL_WRONG
    assert "too many commits had to be skipped" in said


@pytest.mark.parametrize(
    ("states", "said"),
    [
        (["good", "good"], "the tests pass with HEAD, and were to fail"),
        (["bad", "bad"], "and were to pass"),
        (["good", "broken"], "the tests can not be judged with HEAD, and were to fail"),
        (["broken", "bad"], "can not be judged"),
    ],
)
def test_the_ends_have_to_be_what_they_are_said_to_be(searched, states, said):
    status, words = searched(*states)
    assert status == bisect.HARNESS_WRONG
    assert said in words


def test_an_interruption_ends_it(searched):
    status, said = searched("good", "interrupted", "interrupted", "interrupted", "bad")
    assert status == bisect.INTERRUPTED
    assert "interrupted" in said


def test_a_signal_to_the_search_alone_ends_all_of_it(slow):
    process, home, running = slow
    process.terminate()
    assert process.wait(60) == bisect.INTERRUPTED
    assert [pid for pid in running if not ends(pid)] == []
    assert not (home / "tree").exists()


def test_what_a_killed_search_has_left_running_keeps_its_lock(slow, tmp_path):
    process, home, (step, make) = slow
    process.kill()
    process.wait()
    with (tmp_path / "cache" / f"commits-{home.name}.lock").open() as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.killpg(os.getpgid(step), signal.SIGTERM)
        fcntl.flock(lock, fcntl.LOCK_EX)
    assert ends(step)
    assert ends(make)


def test_a_commit_that_is_not_there_is_told(tmp_path, capsys):
    assert cli.main(["bisect", "--tree", str(tmp_path), "v1", "v2"]) == bisect.HARNESS_WRONG
    assert f"v1 is no commit of {tmp_path}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "tests", "step"),
    [
        (bisect.OK, ["a"], 0),
        (bisect.KERNEL_WRONG, ["boot of guest 1", "a"], 1),
        (bisect.KERNEL_WRONG, ["boot of guest 1"], 125),
        (bisect.HARNESS_WRONG, [], 125),
        (bisect.USAGE, [], 128),
        (bisect.INTERRUPTED, [], 130),
    ],
)
def test_each_outcome_has_its_status_for_git(status, tests, step):
    results = [Result(test, "failed", 0.1) for test in tests]
    assert bisect.step_status(Judged(status, "7", results)) == step
