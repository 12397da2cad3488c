"""`vfio-hw bisect`: the first commit of a kernel tree with which the tests fail."""

import argparse
import json
import random
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from vfio_hw import guest, run
from vfio_hw.asked import note
from vfio_hw.cache import FULL, DiskFull
from vfio_hw.errors import HarnessError
from vfio_hw.host.text import printable_lines
from vfio_hw.onekernel import (
    HARNESS_WRONG,
    INTERRUPTED,
    KERNEL_WRONG,
    OK,
    USAGE,
    Judged,
    on_kernel,
)
from vfio_hw.report.events import EventLog
from vfio_hw.report.terminal import say
from vfio_hw.session import PROJECT, results_directory
from vfio_hw.vm.kernels import tools
from vfio_hw.vm.kernels.commits import Commits, commit_of, git

# What git bisect run makes of a status: 125 skips the commit, 128 and more end it all.
GOOD, BAD, SKIP, ABORT = 0, 1, 125, 128
# How a step says BAD: with 1 Python also ends when it fails by itself.
_SAID_BAD = 100
_INTERRUPTED = "interrupted"
_STATUS = {OK: GOOD, KERNEL_WRONG: BAD, HARNESS_WRONG: SKIP, USAGE: ABORT, INTERRUPTED: INTERRUPTED}


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``bisect``."""
    parser = commands.add_parser(
        "bisect",
        usage="%(prog)s [options] GOOD BAD [-- SELECTION ...]",
        help="find the commit of a kernel tree with which tests began to fail",
        description="Builds commits between GOOD, with which the selected tests pass, and BAD,"
        " with which one fails, in a worktree of its own, and runs the tests on each, through git"
        " bisect run. A commit that can not be built or booted is skipped.",
        epilog="Exit status: 0 found; 1 not found, as too many commits had to be skipped; 2 wrong"
        " usage; 3 the harness or the machine failed; 130 interrupted.",
    )
    parser.add_argument("good", metavar="GOOD")
    parser.add_argument("bad", metavar="BAD")
    parser.add_argument(
        "--tree", type=Path, default=Path(), metavar="DIR", help="the git tree (default: here)"
    )
    parser.add_argument(
        "--fragment",
        action="append",
        metavar="NAME",
        help="of fixtures/kconfig, what the kernels are configured by; repeatable (default: base;"
        " kernels as old as 6.12 need 6.12 too)",
    )
    guest.add_machine(parser)
    run.add_selection(parser)
    run.add_judgement(parser)
    parser.set_defaults(function=bisect, takes_rest="tests and options of pytest")


def add_step_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command that git bisect run calls."""
    parser = commands.add_parser("bisect-step")
    parser.add_argument("file", type=Path)
    parser.set_defaults(function=lambda args: Steps(args.file).status())


def bisect(args: argparse.Namespace) -> int:
    """Find the commit; the exit status."""
    tree = args.tree.absolute()
    good, bad = (commit_of(tree, name) for name in (args.good, args.bad))
    if good == bad:
        print(f"vfio-hw: {args.good} and {args.bad} are one commit: name two", file=sys.stderr)
        return USAGE
    if args.seed is None:
        args.seed = random.SystemRandom().getrandbits(32)
    out = results_directory(args.results, "bisect-")
    fragments = args.fragment or ["base"]
    commits = Commits(tree, fragments)
    steps = Steps(out / "bisect.json")
    steps.write(tree, fragments, args)
    say(f"seed {args.seed}, results in {out}")
    with commits.checked_out(bad, say):
        try:
            _is(steps, commits, bad, BAD, args.bad)
            git(commits.tree, "checkout", "--quiet", good)
            _is(steps, commits, good, GOOD, args.good)
            return _searched(commits.tree, good, bad, out)
        except KeyboardInterrupt:
            say(f"interrupted: the guest and the worktree are gone; what was built is kept ({out})")
            return INTERRUPTED


def _is(steps: "Steps", commits: Commits, commit: str, status: int, name: str) -> None:
    """See that a commit is what it was said to be."""
    what = {GOOD: "pass", BAD: "fail"}
    say(f"\nseeing that the tests {what[status]} with {name} ({commit[:12]})")
    found = steps.status_of(commits)
    if found == INTERRUPTED:
        raise KeyboardInterrupt
    if found != status:
        said = what.get(found, "can not be judged")
        raise HarnessError(
            f"the tests {said} with {name}, and were to {what[status]}: name other commits or tests"
        )


def _searched(tree: Path, good: str, bad: str, out: Path) -> int:
    git(tree, "bisect", "start", bad, good)
    step = [sys.executable, "-m", "vfio_hw", "bisect-step", str(out / "bisect.json")]
    # git gives the words to a shell, whose directory is the tree's; and whatever has not said of
    # a commit that it is bad has not judged it: nor has a step that could not be begun (126, 127).
    line = (
        f"cd {shlex.quote(str(PROJECT))} || exit {ABORT}; {shlex.join(step)}; status=$?;"
        f" test $status -eq {_SAID_BAD} && exit {BAD};"
        f" test $status -gt {GOOD} -a $status -lt {ABORT} && exit {SKIP}; exit $status"
    )
    status = tools.alone(["git", "-C", tree, "bisect", "run", "sh", "-c", line])
    log = git(tree, "bisect", "log")
    (out / "bisect.log").write_text(f"{log}\n")
    if "# first bad commit: " in log:
        first = git(tree, "rev-parse", "refs/bisect/bad")
        say(f"\nthe tests fail since {git(tree, 'show', '-s', '--format=%H%n    %s', first)}")
        say(f"results: {out}")
        return OK
    if "# only skipped commits left" in log:
        say(f"not found, since too many commits had to be skipped: see {out / 'bisect.log'}")
        return KERNEL_WRONG
    if (out / _INTERRUPTED).exists():
        raise KeyboardInterrupt
    raise HarnessError(f"git bisect run ended with status {status}: see {out}")


class Steps:
    """One commit after the other, judged as a file says."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def write(self, tree: Path, fragments: Sequence[str], args: argparse.Namespace) -> None:
        """Put into the file what all commits have in common."""
        given = {**vars(args), "selection": []}
        for name in ("function", "results", "resume", "modules", "tree", "patch"):
            given.pop(name, None)
        words = {name: value for name, value in given.items() if not isinstance(value, Path)}
        self._file.write_text(
            json.dumps({"tree": str(tree), "fragments": list(fragments), "args": words})
        )

    def status(self) -> int:
        """How the step is to end, for the commit that is checked out."""
        what = json.loads(self._file.read_text())
        status = self.status_of(Commits(Path(what["tree"]), what["fragments"]))
        if status == INTERRUPTED:
            (self._file.parent / _INTERRUPTED).touch()
        return _SAID_BAD if status == BAD else status

    def status_of(self, commits: Commits) -> int:
        """What git is to be told of the commit that a worktree has checked out.

        A failure of the harness says nothing of it; a full disk, nor of any other.
        """
        what = json.loads(self._file.read_text())
        out = self._file.parent / git(commits.tree, "rev-parse", "HEAD")[:12]
        try:
            kernel = commits.kernel(say)
            args = argparse.Namespace(**what["args"], modules=kernel, patch=[])
            args.kernel = str(kernel / "bzImage")
            out.mkdir(exist_ok=True)
            log = EventLog(out / "events.jsonl")
            with log.held():
                note(log, args)
                judged = on_kernel(args, out, log)
        except KeyboardInterrupt:
            return INTERRUPTED
        except Exception as error:
            if isinstance(error, HarnessError | OSError):
                print(printable_lines(f"vfio-hw: {error}"), file=sys.stderr)
            else:
                traceback.print_exc()
            full = isinstance(error, DiskFull) or getattr(error, "errno", None) in FULL
            return ABORT if full else SKIP
        return step_status(judged)


def step_status(judged: Judged) -> int:
    """What git is to be told of a commit whose kernel was judged so."""
    ran = [r for r in judged.results if not r.test.startswith("boot of guest")]
    if judged.status == KERNEL_WRONG and not ran:
        # It dies as it boots, which says nothing of what is sought.
        return SKIP
    return _STATUS[judged.status]
